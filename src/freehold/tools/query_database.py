"""Questions to the user's own database in SQL: read-only, one statement, few rows, little time.

Three walls, each enough by itself against most mistakes: a role that may only read and is checked to be no more than
that; a read-only transaction with a timeout; a parser (`sql_guard`) that lets one plain SELECT through.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import psycopg
from langchain_core.tools import BaseTool, StructuredTool
from psycopg import AsyncConnection, sql
from psycopg.rows import dict_row, tuple_row
from pydantic import BaseModel, Field

from freehold.config.settings import SqlSection
from freehold.core.errors import Forbidden, InvalidRequest, NotConfigured, StorageUnavailable, TimedOut
from freehold.storage.queries import load
from freehold.tools.sql_guard import check_select, limited

NAME = "query_database"

#: Connections this process opens at once, so a chatty agent leaves some for others.
_MAX_CONNECTIONS = 4
_CONNECT_SECONDS = 5

#: What a model is given to read, in characters.
_MAX_CELL = 200
_MAX_ANSWER = 8000


class QueryArguments(BaseModel):
    """Arguments of `query_database`."""

    query: str = Field(default="", description="One SELECT statement (PostgreSQL). Leave empty to list the tables and their columns.")


def tool(settings: SqlSection) -> BaseTool:
    """The `query_database` tool.

    Raises:
        NotConfigured: there is no reader URL (`tools.sql.url`); do not register the tool then.
    """
    if settings.url is None:
        raise NotConfigured("tools.sql.url is not set", hint="give the URL of a role that may only read")
    database = ReadOnlyDatabase(settings)

    async def answer(query: str = "") -> str:
        return await (database.query(query) if query.strip() else database.describe())

    return StructuredTool.from_function(
        coroutine=answer,
        name=NAME,
        description="Reads the user's database with SQL. Call it with an empty query first: that lists the tables and their columns.",
        args_schema=QueryArguments,
    )


class ReadOnlyDatabase:
    """A database as an agent sees it: a list of tables, and answers to single SELECTs."""

    def __init__(self, settings: SqlSection) -> None:
        self._settings = settings
        self._slots = asyncio.Semaphore(_MAX_CONNECTIONS)

    async def describe(self) -> str:
        """`orders(id integer, customer text)` a line.

        Raises:
            StorageUnavailable: the database does not answer.
            Forbidden: the role could do more than read.
        """
        async with self._slots, await self._connect() as conn:
            cursor = conn.cursor(row_factory=dict_row)
            rows = await (await cursor.execute(load("reader")["columns"], {"schemas": list(self._settings.schemas)})).fetchall()
        tables: dict[str, list[str]] = defaultdict(list)
        for row in rows:
            name = row["table_name"] if row["table_schema"] == "public" else f"{row['table_schema']}.{row['table_name']}"
            tables[name].append(f"{row['column_name']} {row['data_type']}")
        if not tables:
            return f"There are no tables in {', '.join(self._settings.schemas)}."
        return _cut("Tables:\n" + "\n".join(f"{name}({', '.join(columns)})" for name, columns in tables.items()))

    async def query(self, text: str) -> str:
        """The rows of one SELECT as a table, at most `row_limit` of them, with a note where more exist.

        Raises:
            InvalidRequest: the statement is refused, or wrong; the hint says what to do.
            TimedOut: it took longer than `timeout_seconds`.
            StorageUnavailable: the database does not answer.
            Forbidden: the role could do more than read.
        """
        statement = limited(check_select(text, self._settings.schemas), self._settings.row_limit + 1)
        async with self._slots, await self._connect() as conn:
            try:
                # prepare=True: the extended protocol, which takes one statement only.
                cursor = await conn.cursor(row_factory=tuple_row).execute(statement.encode(), prepare=True)
                rows = await cursor.fetchall()
            except psycopg.errors.QueryCanceled as error:
                raise TimedOut(
                    f"the query took longer than {self._settings.timeout_seconds:g} s", hint="read fewer rows or aggregate less"
                ) from error
            except (psycopg.errors.OperationalError, psycopg.InterfaceError) as error:
                raise StorageUnavailable(f"the database went away: {_first_line(error)}") from error
            except psycopg.Error as error:
                raise InvalidRequest(_first_line(error), hint="an empty query lists the tables and their columns") from error
            columns = [column.name for column in cursor.description or ()]
        return _as_text(columns, rows, self._settings.row_limit)

    async def _connect(self) -> AsyncConnection[Any]:
        """A connection in a read-only transaction; nothing of it is ever committed."""
        assert self._settings.url is not None
        try:
            conn = await AsyncConnection.connect(
                self._settings.url.get_secret_value(), connect_timeout=_CONNECT_SECONDS, application_name="freehold query_database"
            )
        except psycopg.OperationalError as error:
            raise StorageUnavailable(f"the database does not answer: {_first_line(error)}") from error
        try:
            await self._restrict(conn)
        except BaseException:
            await conn.close()
            raise
        return conn

    async def _restrict(self, conn: AsyncConnection[Any]) -> None:
        await conn.set_read_only(True)
        timeout = int(self._settings.timeout_seconds * 1000)
        path = sql.SQL(", ").join(map(sql.Identifier, self._settings.schemas))
        await conn.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(sql.Literal(timeout)))
        await conn.execute(sql.SQL("SET LOCAL search_path = {}").format(path))
        row = await (await conn.cursor(row_factory=dict_row).execute(load("reader")["is_unsafe"])).fetchone()
        if row is None or row["is_unsafe"]:
            raise Forbidden(
                "the role in tools.sql.url may do more than read", hint="whoever runs this server must give it a read-only role"
            )


def _as_text(columns: Sequence[str], rows: Sequence[Sequence[Any]], limit: int) -> str:
    if not rows:
        return f"No rows. Columns: {', '.join(columns)}."
    lines = [" | ".join(columns), " | ".join("---" for _ in columns)]
    lines += [" | ".join(_cell(value) for value in row) for row in rows[:limit]]
    text, shown = _cut_lines(lines)
    has_more = len(rows) > limit or shown < len(rows[:limit])
    note = f"({shown} rows shown; more rows exist: aggregate, filter or use LIMIT and OFFSET)" if has_more else f"({len(rows)} rows)"
    return f"{text}\n{note}"


def _cell(value: Any) -> str:
    text = "NULL" if value is None else str(value)
    text = " ".join(text.split()).replace("|", "\\|")
    return text if len(text) <= _MAX_CELL else text[: _MAX_CELL - 1] + "…"


def _cut_lines(lines: Sequence[str]) -> tuple[str, int]:
    """As many lines as fit, and how many rows (without the two of the head) they are."""
    kept: list[str] = []
    size = 0
    for line in lines:
        size += len(line) + 1
        if size > _MAX_ANSWER and len(kept) > 2:
            break
        kept.append(line)
    return "\n".join(kept), len(kept) - 2


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_ANSWER else text[:_MAX_ANSWER] + "\n… (more tables exist)"


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
