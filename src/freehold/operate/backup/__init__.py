"""The databases of a stack as one file, and back again: whole or not at all, and never into the place of what is still needed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from freehold.core.errors import FreeholdError, Incompatible
from freehold.core.progress import Progress
from freehold.operate.backup.archive import FORMAT, Backup, Manifest, Part, Writer, reading, writing
from freehold.operate.backup.postgres import Server, chunks, feed
from freehold.storage import migrate

#: Databases under way have these names beside their own; what a crash left behind is dropped by the next restore.
_COMING, _GOING = "restoring", "replaced"


@dataclass(frozen=True)
class Done:
    """A backup that was made."""

    path: Path
    #: Bytes of its parts.
    size: int
    manifest: Manifest


async def backup(server: Server, path: Path, progress: Progress) -> Done:
    """Write every database of the stack into a file, while it runs or stands. Each is as it was at one moment.

    Raises:
        ConfigError: the file is there already, or cannot be written.
        StorageUnavailable: a database could not be read.
    """
    postgres = int((await server.ask("SHOW server_version_num", database=next(iter(server.databases))))[0][0]) // 10000
    with writing(path) as writer:
        parts = [await _dump(server, name, writer, progress) for name in server.databases]
        scope = "schema" if server.only_schema else "server"
        manifest = Manifest(FORMAT, version("freehold"), datetime.now(UTC), postgres, scope, tuple(parts))
        writer.finish(manifest)
    return Done(path, sum(part.size for part in parts), manifest)


async def _dump(server: Server, name: str, writer: Writer, progress: Progress) -> Part:
    file = f"databases/{name}.dump"
    some = ("--no-owner", "--no-privileges", f"--schema={server.only_schema}") if server.only_schema else ()
    with progress.step(f"database {name}", unit="bytes") as step, writer.part(file) as sink:
        async with server.run("pg_dump", "--format=custom", "--no-password", *some, "--dbname", name) as process:
            async for data in chunks(process):
                sink.write(data)
                step.advance(len(data))
    return Part(name, server.databases[name], file, sink.size, sink.sha256, tuple(await _migrations(server, name)))


async def _migrations(server: Server, database: str) -> Sequence[str]:
    """Names of the migrations a database has had; none where it is another service's."""
    if await server.ask("SELECT 1 WHERE to_regclass('freehold.migrations') IS NOT NULL", database=database):
        return [row[0] for row in await server.ask("SELECT name FROM freehold.migrations ORDER BY name", database=database)]
    return []


async def restore(server: Server, path: Path, progress: Progress, *, keep: str | None = None) -> Manifest:
    """Put the databases of a backup in the place of those that are there; nobody else may be using them.

    Each is first restored beside the old one, then all change names in one transaction.

    Args:
        keep: the databases that are replaced stay under their name with this behind it; where they do so already, it was done before,
            and nothing happens. None: they are dropped.

    Raises:
        Incompatible: the file is damaged, or a newer version made it.
        StorageUnavailable: a statement failed; everything is as it was.
    """
    check(server, path, progress)
    with reading(path) as found:
        if server.only_schema:
            await _replace_schema(server, found, progress)
        else:
            await _replace_databases(server, found, progress, keep)
        return found.manifest


def remove(path: Path) -> None:
    """A backup that nobody needs, where there is one."""
    path.unlink(missing_ok=True)


def check(server: Server, path: Path, progress: Progress) -> None:
    """Read a whole backup without changing anything; `server` need not run.

    Raises:
        ConfigError: there is no such file.
        Incompatible: it is damaged, of another kind of stack, or a newer version made it.
    """
    with reading(path) as found:
        _require_known(found, server)
        with progress.step("checking the backup", total=sum(part.size for part in found.manifest.parts), unit="bytes") as step:
            found.verify(step.advance)


def _require_known(found: Backup, server: Server) -> None:
    manifest = found.manifest
    unknown = sorted({name for part in manifest.parts for name in part.migrations} - migrate.known().keys())
    if unknown:
        raise Incompatible(
            f"Freehold {manifest.version} made this backup, and this is {version('freehold')}: it does not know {', '.join(unknown)}",
            hint=f"restore it with Freehold {manifest.version} or newer",
        )
    if (manifest.scope == "schema") != bool(server.only_schema):
        mine = "a database of your own" if server.only_schema else "the stack's own Postgres"
        raise Incompatible(f"this backup was not made of {mine}", hint="set DATABASE_URL as it was set when the backup was made")


async def _replace_schema(server: Server, found: Backup, progress: Progress) -> None:
    """In somebody else's database there is one transaction: our schema goes and comes."""
    (part,) = found.manifest.parts
    database = next(iter(server.databases))
    with progress.step(f"database {database}", total=part.size, unit="bytes") as step:
        async with server.run("psql", *_SCRIPT, "--dbname", database) as psql:
            assert psql.stdin is not None
            psql.stdin.write(f"BEGIN;\nDROP SCHEMA IF EXISTS {server.only_schema} CASCADE;\n".encode())
            async with server.run("pg_restore", "--file=-", "--no-owner", "--no-privileges") as process:
                await feed(process, found.read(part), step.advance, into=psql)
            psql.stdin.write(b"COMMIT;\n")  # only now, when pg_restore ended well; a script that ends without it changes nothing


async def _replace_databases(server: Server, found: Backup, progress: Progress, keep: str | None) -> None:
    there = {row[0] for row in await server.ask("SELECT datname FROM pg_database", database=_MAINTENANCE)}
    names = [part.name for part in found.manifest.parts]
    if keep and all(f"{name}_{keep}" in there for name in names if name in there):
        return
    for part in found.manifest.parts:
        await _restore_beside(server, found, part, progress)
    going = keep or f"{_GOING}_{int(time.time())}"
    await _swap(server, [name for name in names if name in there], names, going)
    if keep is None:
        for name in names:
            await server.execute(f'DROP DATABASE IF EXISTS "{name}_{going}" WITH (FORCE);', database=_MAINTENANCE)


async def _restore_beside(server: Server, found: Backup, part: Part, progress: Progress) -> None:
    coming = f"{part.name}_{_COMING}"
    await server.execute(
        f'DROP DATABASE IF EXISTS "{coming}" WITH (FORCE);\nCREATE DATABASE "{coming}" OWNER "{part.owner}" TEMPLATE template0;',
        database=_MAINTENANCE,
    )
    try:
        with progress.step(f"database {part.name}", total=part.size, unit="bytes") as step:
            async with server.run("pg_restore", "--exit-on-error", "--no-password", "--dbname", coming) as process:
                await feed(process, found.read(part), step.advance)
        if (came := tuple(await _migrations(server, coming))) != part.migrations:
            raise Incompatible(f"{part.name} came back with other migrations than were written down: {', '.join(came) or 'none'}")
    except FreeholdError:
        await server.execute(f'DROP DATABASE IF EXISTS "{coming}" WITH (FORCE);', database=_MAINTENANCE)
        raise


async def _swap(server: Server, there: Sequence[str], names: Sequence[str], going: str) -> None:
    quoted = ", ".join(f"'{name}'" for name in names)
    await server.execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN ({quoted}) AND pid <> pg_backend_pid();",  # noqa: S608 - names that the manifest's type lets through
        database=_MAINTENANCE,
    )
    away = [f'ALTER DATABASE "{name}" RENAME TO "{name}_{going}";' for name in there]
    come = [f'ALTER DATABASE "{name}_{_COMING}" RENAME TO "{name}";' for name in names]
    await server.execute("\n".join([*away, *come]), database=_MAINTENANCE, single_transaction=True)


#: Where one is connected while others change their names.
_MAINTENANCE = "postgres"
_SCRIPT = ("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=-", "--output=/dev/null")
