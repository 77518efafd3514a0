"""The database server of a Compose stack for those who back it up or replace its contents: its own programs, in its container."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from freehold.core.errors import NotSupported
from freehold.core.progress import Progress
from freehold.operate.backup.postgres import Program, Server
from freehold.targets.compose import docker, run
from freehold.targets.compose.images import image
from freehold.targets.compose.told import Told
from freehold.targets.native import secrets

#: What runs while databases are replaced; the owners of volumes have ended by then.
_STORES = frozenset({"postgres", "valkey", "owners"})
#: The password is the first line of what a program reads: so it is in no command line, and always the one that counts now.
_WITH_PASSWORD = ("sh", "-c", 'IFS= read -r PGPASSWORD; export PGPASSWORD; exec "$0" "$@"')
_WITH_VALKEY_PASSWORD = ("sh", "-c", 'IFS= read -r REDISCLI_AUTH; export REDISCLI_AUTH; exec valkey-cli "$@"', "valkey-cli")


def server(folder: Path, told: Told) -> Server:
    """How the databases of a running Compose stack are reached.

    Raises:
        NotSupported: its database is somebody else's server.
    """
    if not told.has_own_postgres:
        raise NotSupported("the database of this stack is a server of your own", hint="save it where it runs, with pg_dump")
    reached = ("--host", image("postgres").sockets, "--username", "postgres")
    names: tuple[Program, ...] = ("pg_dump", "pg_restore", "psql")
    inside = docker.command(folder, "exec", "--no-TTY", "postgres", *_WITH_PASSWORD)
    return Server(
        programs={name: (*inside, name, *reached) for name in names},
        databases=told.databases,
        first_line=lambda: secrets.read(folder / "secrets", "postgres_superuser"),
        everything=True,
    )


@asynccontextmanager
async def alone(folder: Path, told: Told, progress: Progress) -> AsyncIterator[None]:
    """Only the stores run inside of the block; all runs again afterwards, also after an error."""
    others = [name for name in told.services if name not in _STORES]
    with progress.step("stopping all but the stores"):
        await docker.compose(folder, "stop", *others)
        await docker.compose(folder, "up", "--detach", "--wait", "--no-deps", "postgres", "valkey")
    try:
        yield
    finally:
        await run.up(folder, progress)


async def forget_streams(folder: Path) -> None:
    """As `native.forget_streams`: this Valkey holds nothing else."""
    await valkey(folder, secrets.read(folder / "secrets", "valkey"), "FLUSHALL")


async def valkey(folder: Path, password: str, *commands: str) -> None:
    """Commands of Valkey, read from its input, so that no password is in a command line.

    Raises:
        Unhealthy: one failed.
    """
    lines = "\n".join([password, *commands]) + "\n"
    await docker.compose(folder, "exec", "--no-TTY", "valkey", *_WITH_VALKEY_PASSWORD, "-e", given=lines.encode())
