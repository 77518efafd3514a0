"""Row-level security: the second wall behind the conditions in the queries (docs/adr/0003).

A request acts in the role `freehold_request`, which owns nothing, may not log in and cannot bypass the policies made here. Role and
caller are set for one transaction, so they hold behind a connection pooler too. Workers, sweeps and migrations act for everybody and
keep the role they connected with.
"""

from __future__ import annotations

from typing import LiteralString

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import DictRow

#: Of the whole server: databases of one server share it.
REQUEST_ROLE: LiteralString = "freehold_request"

#: Members choose the role for a transaction but do not inherit it: policies that bind it would bind them all the time.
MINIMUM_SERVER = 160000

Connection = AsyncConnection[DictRow]

#: Tables with owners that have no policies yet: setting them again would lock tables that are in use.
_UNPROTECTED: LiteralString = """
SELECT c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = 'freehold' AND c.relkind = 'r'
   AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'caller_deletes')
   AND 2 = (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname IN ('organisation', 'owner') AND NOT a.attisdropped)
 ORDER BY c.relname
"""

_ALL_RIGHTS: LiteralString = "SELECT, INSERT, UPDATE, DELETE"

#: Tables that requests read at most; the process itself adds to them.
_RIGHTS: dict[str, LiteralString] = {"api_keys": "REFERENCES", "audit_log": "SELECT", "usage": "SELECT"}

#: Objects of the system, which belong to nobody, may be read by everybody.
_READABLE: LiteralString = "organisation IS NULL AND owner IS NULL OR freehold.is_callers(organisation, owner)"
_WRITABLE: LiteralString = "freehold.is_callers(organisation, owner)"


async def ensure_request_role(conn: Connection) -> bool:
    """Whether the role is there; makes it where this connection may."""
    if conn.info.server_version < MINIMUM_SERVER:
        return False
    if await (await conn.execute("SELECT FROM pg_roles WHERE rolname = %s", (REQUEST_ROLE,))).fetchone() is not None:
        return True
    try:
        async with conn.transaction():
            await conn.execute(f"CREATE ROLE {REQUEST_ROLE} NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS NOINHERIT")
    except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):  # the second: another database's migration, this moment
        return True
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


async def let_act_as_request(conn: Connection, role: str) -> bool:
    """Whether a role may take the request's role on; grants it where this connection may."""
    row = await (await conn.execute("SELECT pg_has_role(%s, %s, 'MEMBER') AS member", (role, REQUEST_ROLE))).fetchone()
    superuser = await (await conn.execute("SELECT rolsuper FROM pg_roles WHERE rolname = %s", (role,))).fetchone()
    if (row and row["member"]) or (superuser and superuser["rolsuper"]):
        return True
    try:
        async with conn.transaction():
            grant = "GRANT {} TO {} WITH INHERIT FALSE, SET TRUE"
            await conn.execute(sql.SQL(grant).format(sql.Identifier(REQUEST_ROLE), sql.Identifier(role)))
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


async def protect_rows(conn: Connection) -> None:
    """Policies and grants for every table that has owners and lacks them; done after each migration, so that no table is forgotten."""
    await conn.execute(f"GRANT USAGE ON SCHEMA freehold TO {REQUEST_ROLE}")
    await conn.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA freehold TO {REQUEST_ROLE}")
    for row in await (await conn.execute(_UNPROTECTED)).fetchall():
        await _protect(conn, sql.Identifier("freehold", row["name"]), _RIGHTS.get(row["name"], _ALL_RIGHTS))


async def _protect(conn: Connection, table: sql.Identifier, rights: LiteralString) -> None:
    names = {
        "table": table,
        "rights": sql.SQL(rights),
        "role": sql.Identifier(REQUEST_ROLE),
        "readable": sql.SQL(_READABLE),
        "writable": sql.SQL(_WRITABLE),
    }
    async with conn.transaction():
        for statement in (
            "GRANT {rights} ON {table} TO {role}",
            "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
            "CREATE POLICY everybody ON {table} USING (true)",
            "CREATE POLICY caller_reads ON {table} AS RESTRICTIVE FOR SELECT TO {role} USING ({readable})",
            "CREATE POLICY caller_inserts ON {table} AS RESTRICTIVE FOR INSERT TO {role} WITH CHECK ({writable})",
            "CREATE POLICY caller_updates ON {table} AS RESTRICTIVE FOR UPDATE TO {role} USING ({writable}) WITH CHECK ({writable})",
            "CREATE POLICY caller_deletes ON {table} AS RESTRICTIVE FOR DELETE TO {role} USING ({writable})",
        ):
            await conn.execute(sql.SQL(statement).format(**names))
