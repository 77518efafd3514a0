"""Brings a database to the shape this version needs; run once by the `migrate` task before anything else connects.

Two steps: `provision` (roles, database, extension; only where we own the server) and `migrate` (our SQL files, in schema
`freehold`). Both can be repeated and several processes may start them at once.

Migrating takes a session of its own (its lock and its path last longer than a transaction), so not through a connection pooler; there
it is only looked whether anything is missing.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from importlib.resources import files

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow

from freehold.config import env
from freehold.core.errors import ConfigError, FreeholdError, Incompatible, NotConfigured, StorageUnavailable
from freehold.storage.pool import SCHEMA, connection_options
from freehold.storage.row_security import REQUEST_ROLE, ensure_request_role, let_act_as_request, protect_rows

#: Any constant of ours: one migration at a time in a database.
_LOCK = 0x667265_65686F

#: Below it: a possible index corruption on HNSW vacuum (fixed in 0.8.3) and a planner fix (0.8.4).
MINIMUM_PGVECTOR = (0, 8, 4)

_DIRECTLY = "set FREEHOLD_MIGRATION_DATABASE_URL to the server itself, with the role that owns the tables"

Connection = AsyncConnection[DictRow]


async def provision(superuser_url: str, *, owner_url: str, app_url: str, reader_url: str | None) -> None:
    """Create database, roles and extension on a server of our own, and set the roles' passwords to those in the URLs.

    The owner holds the tables; the application's role neither owns them nor bypasses row security; the reader sees
    only schema `public`. Runs at every start, so a changed secret takes effect.
    """
    database = conninfo_to_dict(app_url)["dbname"]
    roles = [_role(url) for url in (owner_url, app_url, reader_url) if url]
    async with _connect(superuser_url) as server, _one_at_a_time(server):
        for name, password in roles:
            await _ensure_role(server, name, password)
        if await ensure_request_role(server):
            await let_act_as_request(server, _role(app_url)[0])
        await _ensure_database(server, str(database), roles[0][0])
        async with _connect(superuser_url, database=str(database)) as conn:
            await _grant(conn, str(database), *(name for name, _ in roles))


async def provision_monitor(superuser_url: str, url: str) -> None:
    """Create the role that an exporter of metrics connects as: it sees the statistics of the server, and no row of anybody."""
    name, password = _role(url)
    database = str(conninfo_to_dict(url)["dbname"])
    async with _connect(superuser_url) as server, _one_at_a_time(server):
        await _ensure_role(server, name, password)
        names = {"db": sql.Identifier(database), "role": sql.Identifier(name)}
        for statement in (
            "GRANT pg_monitor TO {role}",
            "GRANT CONNECT ON DATABASE {db} TO {role}",
            "ALTER ROLE {role} SET default_transaction_read_only = on",
            "ALTER ROLE {role} CONNECTION LIMIT 5",
        ):
            await server.execute(sql.SQL(statement).format(**names))


async def provision_for_service(superuser_url: str, url: str) -> None:
    """Create the database and the role of another service of the stack, e.g. Open WebUI, which nobody else may connect to."""
    database = str(conninfo_to_dict(url)["dbname"])
    owner, password = _role(url)
    async with _connect(superuser_url) as server, _one_at_a_time(server):
        await _ensure_role(server, owner, password)
        await _ensure_database(server, database, owner)
        await server.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database)))
    async with _open(make_conninfo(superuser_url, dbname=database), {}) as conn:
        await conn.execute("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public")


async def set_passwords(superuser_url: str, passwords: Mapping[str, str]) -> None:
    """Give roles that exist other passwords, all or none; sessions that are open stay.

    Args:
        passwords: by role.
    """
    async with _open(superuser_url, {}) as conn, conn.transaction():
        for name, password in passwords.items():
            await conn.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(name), sql.Literal(_verifier(conn, name, password)))
            )


async def migrate(owner_url: str, *, app_role: str | None = None) -> list[str]:
    """Apply what is missing and return the names of the migrations applied.

    Args:
        owner_url: role that owns the tables.
        app_role: role that gets rights on the rows; None where it is the owner itself.

    Raises:
        StorageUnavailable: the server cannot be reached.
        Incompatible: pgvector is missing or too old, a newer version made the database, a migration was changed after it was applied, or
            one is missing and the connection is that of a pooler.
    """
    try:
        async with _connect(owner_url) as conn, _one_at_a_time(conn):
            await _check_pgvector(conn)
            await conn.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(SCHEMA)))
            applied = await _apply_files(conn)
            if app_role:
                await _grant_rows(conn, app_role)
            await _second_wall(conn, app_role or conn.info.user)
    except _NoSession as error:
        await _expect_no_work(owner_url, error)
        return []
    return applied


class _NoSession(Incompatible):
    """A connection pooler answers, which keeps no session for us."""


async def _expect_no_work(url: str, reason: _NoSession) -> None:
    """Through a pooler: raises Incompatible where anything is left to migrate."""
    missing = sorted(known())
    async with _open(url, {}) as conn:
        row = await (await conn.execute("SELECT to_regclass('freehold.migrations') IS NOT NULL AS found")).fetchone()
        if row and row["found"]:
            rows = await (await conn.execute("SELECT name FROM freehold.migrations")).fetchall()
            missing = sorted(known().keys() - {row["name"] for row in rows})
    if missing:
        raise Incompatible(
            f"this database is not up to date ({', '.join(missing)}), and migrations cannot go through a connection pooler",
            hint=_DIRECTLY,
        ) from reason


async def _apply_files(conn: Connection) -> list[str]:
    await conn.execute(
        "CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY, hash text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    done = {row["name"]: row["hash"] for row in await (await conn.execute("SELECT name, hash FROM migrations")).fetchall()}
    ours = known()
    if newer := sorted(done.keys() - ours.keys()):
        raise Incompatible(
            f"a newer Freehold made this database ({', '.join(newer)})",
            hint="install that version again, or restore a backup from before it",
        )
    applied = []
    for name, text in sorted(ours.items()):
        digest = hashlib.sha256(text.encode()).hexdigest()
        if name in done:
            if done[name] != digest:
                raise Incompatible(
                    f"migration {name} was changed after this database applied it",
                    hint="use the Freehold version that made this database, or start with a fresh one (`freehold reset`)",
                )
            continue
        async with conn.transaction():
            await conn.execute(text.encode())
            await conn.execute("INSERT INTO migrations (name, hash) VALUES (%s, %s)", (name, digest))
        applied.append(name)
    return applied


def known() -> Mapping[str, str]:
    """Text of every migration of this version, by its name, e.g. `0001_initial.sql`."""
    folder = files("freehold.storage") / "migrations"
    return {item.name: item.read_text(encoding="utf-8") for item in folder.iterdir() if item.name.endswith(".sql")}


@asynccontextmanager
async def _connect(url: str, *, database: str | None = None) -> AsyncIterator[Connection]:
    """A session in which tables without a schema are ours. Raises _NoSession where a pooler drops or refuses such a setting."""
    path = f"{SCHEMA},public"
    async with _open(make_conninfo(url, dbname=database) if database else url, {"options": f"-c search_path={path}"}) as conn:
        row = await (await conn.execute("SELECT current_setting('search_path') AS path")).fetchone()
        if row is None or row["path"] != path:
            raise _NoSession("a connection pooler answers, which drops the settings of a session", hint=_DIRECTLY)
        yield conn


@asynccontextmanager
async def _open(url: str, options: Mapping[str, str]) -> AsyncIterator[Connection]:
    try:
        conn = await AsyncConnection[DictRow].connect(url, **{**connection_options("freehold-migrate"), **options})
    except psycopg.OperationalError as error:
        if "unsupported startup parameter" in str(error):
            raise _NoSession(f"a connection pooler answers: {error}", hint=_DIRECTLY) from error
        raise StorageUnavailable(f"the database cannot be reached: {error}", hint="check DATABASE_URL, or `freehold status`") from error
    async with conn:
        yield conn


@asynccontextmanager
async def _one_at_a_time(conn: Connection) -> AsyncIterator[None]:
    # Polled: a session that waits inside pg_advisory_lock holds a snapshot, and CREATE INDEX CONCURRENTLY would wait for it.
    while not (await (await conn.execute("SELECT pg_try_advisory_lock(%s) AS got", (_LOCK,))).fetchone() or {})["got"]:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    try:
        yield
    finally:
        await conn.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))


async def _check_pgvector(conn: Connection) -> None:
    row = await (await conn.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")).fetchone()
    if row is None:
        try:
            await conn.execute("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public")
        except psycopg.Error as error:
            raise Incompatible(
                f"pgvector cannot be created in this database: {error}",
                hint="install pgvector >= 0.8.4 on the server and let a superuser run CREATE EXTENSION vector",
            ) from error
        row = await (await conn.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")).fetchone()
    version = str(row["extversion"]) if row else "0"
    if tuple(int(part) for part in version.split(".")[:3]) < MINIMUM_PGVECTOR:
        raise Incompatible(
            f"pgvector {version} is too old: 0.8.4 or newer is needed",
            hint="upgrade the extension on the server, then ALTER EXTENSION vector UPDATE",
        )


def _role(url: str) -> tuple[str, str]:
    parts = conninfo_to_dict(url)
    return str(parts["user"]), str(parts["password"])


async def _ensure_role(conn: Connection, name: str, password: str) -> None:
    role = sql.Identifier(name)
    with suppress(psycopg.errors.DuplicateObject):
        await conn.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
    await conn.execute(
        sql.SQL("ALTER ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS PASSWORD {}").format(
            role, sql.Literal(_verifier(conn, name, password))
        )
    )


def _verifier(conn: Connection, role: str, password: str) -> str:
    """Computed here, so the password never appears in a statement the server might log."""
    return conn.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()


async def _ensure_database(conn: Connection, name: str, owner: str) -> None:
    found = await (await conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))).fetchone()
    if not found:
        await conn.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(owner)))


async def _grant(conn: Connection, database: str, owner: str, app: str, reader: str | None = None) -> None:
    names = {"db": sql.Identifier(database), "owner": sql.Identifier(owner), "app": sql.Identifier(app)}
    statements = [
        "CREATE EXTENSION IF NOT EXISTS vector SCHEMA public",
        "REVOKE ALL ON DATABASE {db} FROM PUBLIC",
        "GRANT CONNECT ON DATABASE {db} TO {owner}, {app}",
        "GRANT USAGE, CREATE ON SCHEMA public TO {owner}",
    ]
    if reader:
        names["reader"] = sql.Identifier(reader)
        statements += [
            "GRANT CONNECT ON DATABASE {db} TO {reader}",
            "GRANT USAGE ON SCHEMA public TO {reader}",
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader}",
            "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {reader}",
            "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public GRANT SELECT ON TABLES TO {reader}",
            "ALTER ROLE {reader} SET default_transaction_read_only = on",
            "ALTER ROLE {reader} CONNECTION LIMIT 10",
        ]
    for statement in statements:
        await conn.execute(sql.SQL(statement).format(**names))


async def _grant_rows(conn: Connection, app: str) -> None:
    names = {"schema": sql.Identifier(SCHEMA), "app": sql.Identifier(app)}
    for statement in (
        "GRANT USAGE ON SCHEMA {schema} TO {app}",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {app}",
        "GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {app}",
        "REVOKE INSERT, UPDATE, DELETE ON {schema}.migrations FROM {app}",
        "REVOKE UPDATE, DELETE, TRUNCATE ON {schema}.audit_log FROM {app}",  # entries are added, and forgotten by a function alone
        "GRANT EXECUTE ON FUNCTION {schema}.forget_audit(interval) TO {app}",
    ):
        await conn.execute(sql.SQL(statement).format(**names))


async def _second_wall(conn: Connection, app: str) -> None:
    """Row-level security for requests; where this server does not let us, the conditions in the queries stand alone, and we say so."""
    if await ensure_request_role(conn) and await let_act_as_request(conn, app):
        await protect_rows(conn)
        return
    sys.stderr.write(
        f"warning: no row-level security: it takes PostgreSQL 16 or newer and the role {REQUEST_ROLE}. As a superuser: "
        f"CREATE ROLE {REQUEST_ROLE} NOLOGIN; GRANT {REQUEST_ROLE} TO {app} WITH INHERIT FALSE, SET TRUE\n"
    )


async def run_task() -> None:
    """What the stack's `migrate` task does, from the environment the target gives it."""
    app_url = env.get("DATABASE_URL")
    if not app_url:
        raise NotConfigured("DATABASE_URL is not set", hint="`freehold up` sets it for the processes it starts")
    owner_url = env.get("FREEHOLD_MIGRATION_DATABASE_URL") or app_url
    if superuser_url := env.get("FREEHOLD_PROVISION_DATABASE_URL"):
        if owner_url == app_url:
            raise ConfigError("FREEHOLD_MIGRATION_DATABASE_URL: expected a role of its own on a provisioned server")
        await provision(superuser_url, owner_url=owner_url, app_url=app_url, reader_url=env.get("FREEHOLD_READER_DATABASE_URL"))
        if monitor_url := env.get("FREEHOLD_MONITOR_DATABASE_URL"):
            await provision_monitor(superuser_url, monitor_url)
        for url in (env.get("FREEHOLD_SERVICE_DATABASE_URLS") or "").split():
            await provision_for_service(superuser_url, url)
    app_role = str(conninfo_to_dict(app_url).get("user") or "")
    owner_role = str(conninfo_to_dict(owner_url).get("user") or "")
    applied = await migrate(owner_url, app_role=app_role if app_role != owner_role else None)
    sys.stderr.write(f"migrations applied: {', '.join(applied) or 'none, the database is up to date'}\n")


def main() -> int:
    """Entry of `python -m freehold.storage.migrate`."""
    try:
        asyncio.run(run_task())
    except FreeholdError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
