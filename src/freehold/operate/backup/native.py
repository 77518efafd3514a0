"""The database server of a native stack for those who back it up or replace its contents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import redis.asyncio as redis
from psycopg import pq

from freehold.config.load import Loaded
from freehold.core.errors import NotConfigured
from freehold.core.progress import Progress
from freehold.operate.backup.postgres import Program, Server
from freehold.storage.pool import SCHEMA
from freehold.targets.native import programs, run, secrets
from freehold.targets.native.home import Home
from freehold.targets.native.process import Rendered
from freehold.targets.native.starting import StartLock

#: What runs while databases are saved or replaced: nobody who could write to them.
_STORES = ("postgres", "valkey")


def server(loaded: Loaded, home: Home) -> Server:
    """How the databases of the stack of a folder are reached; its Postgres must run.

    Raises:
        NotConfigured: no stack was ever started here.
    """
    rendered = home.rendered()
    found = programs.postgres(programs.postgres_folder())
    whereabouts: tuple[str, ...] = ()
    own = rendered.process("postgres")
    if own and own.health:
        whereabouts = ("--host", own.health.target, "--username", "postgres")
        databases, environment, only = _databases(rendered), {}, None
    else:
        environment = _libpq(_external(rendered, home))
        databases, only = {environment["PGDATABASE"]: environment.get("PGUSER", "")}, SCHEMA
    names: tuple[Program, ...] = ("pg_dump", "pg_restore", "psql")
    return Server({name: (*found[name], *whereabouts) for name in names}, databases, environment, only_schema=only)


def _databases(rendered: Rendered) -> Mapping[str, str]:
    """Each database with its owner, from what the migration is told to make."""
    migration = rendered.process("migrate")
    if migration is None:
        raise NotConfigured("this stack has no migration, so its databases are not known", hint="`freehold up` writes it anew")
    urls = [migration.env["FREEHOLD_MIGRATION_DATABASE_URL"], *migration.env.get("FREEHOLD_SERVICE_DATABASE_URLS", "").split()]
    return {parts.path.lstrip("/"): parts.username or "" for parts in map(urlsplit, urls)}


def _external(rendered: Rendered, home: Home) -> str:
    migration = rendered.process("migrate")
    env = secrets.resolve(home.secrets, migration.env) if migration else {}
    return env.get("FREEHOLD_MIGRATION_DATABASE_URL") or env["DATABASE_URL"]


def _libpq(url: str) -> dict[str, str]:
    """A URL as the variables that every program of Postgres reads, so that no password is in a command line."""
    options = pq.Conninfo.parse(url.encode())
    return {option.envvar.decode(): option.val.decode() for option in options if option.envvar and option.val}


@asynccontextmanager
async def alone(home: Home, progress: Progress) -> AsyncIterator[bool]:
    """Only the stores run inside of the block; what ran before runs again afterwards, also after an error. Tells whether it ran.

    Raises:
        Unhealthy: a service does not start again.
    """
    with StartLock(home.start_lock) as lock:
        await lock.wait(progress)
        was_running = home.is_running()
        await run.stop(home, progress)
        try:
            async with stores(home, progress):
                yield was_running
        finally:
            if was_running:
                supervisor = run.supervise(home, attached=False)
                lock.release()
                await run.until_healthy(home, supervisor, progress)


@asynccontextmanager
async def stores(home: Home, progress: Progress) -> AsyncIterator[None]:
    """The stores of a stack that stands; they end with the block, or with this process."""
    names = [process.name for process in home.rendered().processes if process.name in _STORES]
    if not names:
        yield
        return
    supervisor = run.supervise(home, attached=True, only=names)
    try:
        await run.until_healthy(home, supervisor, progress)
        yield
    finally:
        await run.end(supervisor, progress)


async def forget_streams(home: Home) -> None:
    """Events of runs as they went after the backup was made: with them in the way, runs that begin anew could not write theirs."""
    server = home.rendered().process("server")
    if server is None or not (url := secrets.resolve(home.secrets, server.env).get("REDIS_URL")):
        return
    client = redis.from_url(url)
    try:
        async for key in client.scan_iter(match="freehold:*", count=1000):
            await client.unlink(key)
    finally:
        await client.aclose()
