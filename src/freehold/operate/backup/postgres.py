"""PostgreSQL's own programs, called where the server is: beside it on this machine, or inside its container."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

from freehold.config import env
from freehold.core.errors import StorageUnavailable
from freehold.operate.backup.archive import CHUNK_BYTES

Program = Literal["pg_dump", "pg_restore", "psql"]
#: Lines of a program that failed which are worth showing.
_SHOWN_LINES = 6


@dataclass(frozen=True)
class Server:
    """How a server is reached by those who may read and replace everything of the stack in it."""

    #: Start of the command line of each program; whom to connect as and where included, passwords never.
    programs: Mapping[Program, tuple[str, ...]]
    #: Databases and the roles that own them.
    databases: Mapping[str, str]
    #: Password and whereabouts, in variables of libpq.
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: What every program reads before its own input: a password, where it runs in a container.
    first_line: Callable[[], str] | None = field(default=None, repr=False)
    #: Whether the program that runs it needs our whole environment, as Docker's does.
    everything: bool = False
    #: The server is somebody else's: only our schema in it is ours to write.
    only_schema: str | None = None

    async def ask(self, sql: str, *, database: str) -> list[list[str]]:
        """Rows of a statement, as text.

        Raises:
            StorageUnavailable: it failed.
        """
        text = b""
        async with self.run("psql", *_PSQL, "--field-separator=\t", "--dbname", database, "--command", sql) as process:
            assert process.stdout is not None
            text = await process.stdout.read()
        return [line.split("\t") for line in text.decode().splitlines()]

    async def execute(self, sql: str, *, database: str, single_transaction: bool = False) -> None:
        """Statements, each by itself or all in one transaction."""
        together = ("--single-transaction",) if single_transaction else ()
        async with self.run("psql", *_PSQL, *together, "--dbname", database, "--file=-") as process:
            await feed(process, [sql.encode()])

    @asynccontextmanager
    async def run(self, program: Program, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run a program while the block feeds or reads it.

        Raises:
            StorageUnavailable: it failed; its last lines are the hint.
        """
        process = await asyncio.create_subprocess_exec(
            *self.programs[program],
            *arguments,
            env=env.inherited(self.environment) if self.everything else env.minimal(self.environment),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        said = asyncio.create_task(process.stderr.read())
        if self.first_line and process.stdin:
            process.stdin.write(f"{self.first_line()}\n".encode())
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # it ended early; what it said is the reason
                yield process
            await _close(process)
            code = await process.wait()
        except BaseException:
            if process.returncode is None:
                process.kill()
            await process.wait()
            said.cancel()
            raise
        lines = [line for line in (await said).decode(errors="replace").splitlines() if line.strip()]
        if code:
            raise StorageUnavailable(f"{program} failed", hint="\n".join(lines[-_SHOWN_LINES:]) or f"it ended with {code}")


async def feed(
    process: asyncio.subprocess.Process,
    pieces: Iterable[bytes],
    seen: Callable[[int], None] = lambda _: None,
    *,
    into: asyncio.subprocess.Process | None = None,
) -> None:
    """Write to a program's input and read what it prints, so that neither waits for the other.

    Args:
        into: a program that is fed with what this one prints; its input stays open.
    """
    assert process.stdin is not None
    printed = asyncio.create_task(_pass_on(process, into))
    for piece in pieces:
        process.stdin.write(piece)
        await process.stdin.drain()
        seen(len(piece))
    await _close(process)
    await printed


async def _pass_on(process: asyncio.subprocess.Process, into: asyncio.subprocess.Process | None) -> None:
    async for data in chunks(process):
        if into and into.stdin:
            into.stdin.write(data)
            await into.stdin.drain()


async def chunks(process: asyncio.subprocess.Process) -> AsyncIterator[bytes]:
    """What a program prints."""
    assert process.stdout is not None
    while data := await process.stdout.read(CHUNK_BYTES):
        yield data


async def _close(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        await process.stdin.wait_closed()
    except (BrokenPipeError, ConnectionResetError):
        return


_PSQL = ("--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1")
