"""One connection pool per process, opened by the composition root; errors of the driver are translated here.

Nothing is set for a session, because a connection pooler in front (PgBouncer in transaction mode) refuses or forgets it: tables are
written with their schema, and what a transaction needs is set within it.
"""

from __future__ import annotations

import select
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, LiteralString, cast
from weakref import WeakKeyDictionary

import psycopg
from psycopg import AsyncConnection, AsyncTransaction
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from freehold.core.caller import Caller
from freehold.core.errors import InvalidRequest, StorageUnavailable
from freehold.telemetry.metrics import DATABASE_WAIT

if TYPE_CHECKING:  # loaded where a project encrypts
    from freehold.storage.sealing import Sealing

Pool = AsyncConnectionPool[AsyncConnection[DictRow]]

#: Tables live in this schema; `public` stays free for the users' own tables.
SCHEMA = "freehold"

#: A process that hangs or is stopped within a transaction holds its locks no longer than this; the write is repeated.
IDLE_IN_TRANSACTION_SECONDS = 10

#: A connection that lay idle this long is asked whether it still works before it is used.
IDLE_CHECK_SECONDS = 5.0

#: What handing out a free connection may take; longer is waiting for one.
_AT_ONCE_SECONDS = 0.005

#: A network that swallows packets says nothing. Over TCP, a server that acknowledges nothing for about this long is given up, and new
#: connections are made: without these the kernel would wait for it for a quarter of an hour, and for an answer without any end.
_GIVE_UP: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
}

#: What the driver raises when the server went away, as opposed to a mistake in a query.
CONNECTION_ERRORS = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    PoolTimeout,
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.TransactionTimeout,  # set by `fence`
)


def is_away(error: psycopg.Error) -> bool:
    """Whether an error says that the server is away, rather than that a statement cannot work (class 54: a value too large) or that a
    function of ours refused it (class FH, which the driver takes for an operational error as it does every class it does not know)."""
    return isinstance(error, CONNECTION_ERRORS) and not (error.sqlstate or "").startswith(("54", "FH"))


def unstorable(error: psycopg.DataError, what: str) -> InvalidRequest:
    """What to tell of a value no column takes; `what` holds it, e.g. "metadata"."""
    if isinstance(error, psycopg.errors.UntranslatableCharacter) or "NUL" in str(error):
        return InvalidRequest(f"{what} contains a NUL character (\\u0000), which cannot be stored", hint="remove it")
    return InvalidRequest(f"{what} contains a value that cannot be stored: {str(error).splitlines()[0]}")


class Connection(AsyncConnection[DictRow]):
    """A connection whose transactions end by themselves when this process falls silent in the middle of one."""

    @asynccontextmanager
    async def transaction(self, savepoint_name: str | None = None, force_rollback: bool = False) -> AsyncIterator[AsyncTransaction]:
        """As the base class has it; BEGIN and the limit are one round trip. The limit counts from the first statement on: before it,
        nothing is locked."""
        if self.info.transaction_status != TransactionStatus.IDLE:
            async with super().transaction(savepoint_name, force_rollback) as savepoint:
                yield savepoint
            return
        async with self.begun(savepoint_name, force_rollback) as begun:
            yield begun

    @asynccontextmanager
    async def begun(
        self, savepoint_name: str | None = None, force_rollback: bool = False, *, caller: Caller | None = None
    ) -> AsyncIterator[AsyncTransaction]:
        """A transaction of its own; BEGIN, the limit and, with `caller`, whose rows it sees are one round trip."""
        async with AsyncExitStack() as stack:
            async with self.pipeline():  # for as long as it takes to begin; the base class would stay in it
                begun = await stack.enter_async_context(AsyncTransaction(self, savepoint_name, force_rollback))
                if caller:
                    await self.execute(_LIMIT_AND_ACT_FOR, caller.arguments(), prepare=True)
                else:
                    await self.execute(_LIMIT, prepare=True)
            yield begun


class MeteredPool(AsyncConnectionPool[AsyncConnection[DictRow]]):
    """Counts the time that statements wait for a connection, while others of this process have them all."""

    async def getconn(self, timeout: float | None = None) -> AsyncConnection[DictRow]:  # noqa: ASYNC109 - psycopg_pool's own
        asked = time.perf_counter()
        try:
            return await super().getconn(timeout)
        finally:
            waited = time.perf_counter() - asked
            if waited > _AT_ONCE_SECONDS:
                DATABASE_WAIT.inc(waited)


_LIMIT: LiteralString = f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION_SECONDS}s'"
_ACT_FOR: LiteralString = "SELECT freehold.act_for(%(organisation)s, %(owner)s, %(shared)s)"
#: One statement costs a request less than two.
_LIMIT_AND_ACT_FOR: LiteralString = f"{_ACT_FOR}, set_config('idle_in_transaction_session_timeout', '{IDLE_IN_TRANSACTION_SECONDS}s', true)"


def create_pool(url: str, *, max_size: int, min_size: int = 1, name: str = "freehold", sealing: Sealing | None = None) -> Pool:
    """A closed pool; use it as an async context manager. Broken connections are replaced on checkout.

    Args:
        sealing: encrypts what is stored.
    """
    return MeteredPool(
        url,
        min_size=min_size,
        max_size=max_size,
        open=False,
        name=name,
        timeout=10,
        reconnect_timeout=3,  # then on demand: the default goes on backing off for minutes after the server is back
        max_idle=300,
        max_lifetime=3600,
        check=_check,
        reset=_note_use,
        connection_class=_sealed(sealing) if sealing else Connection,
        kwargs=connection_options(name),
    )


def salt_of(pool: Pool) -> bytes:
    """What the names of values that are stored through a pool, or a transaction that looks like one, are made with."""
    return bytes(getattr(getattr(pool, "connection_class", None), "digest_salt", b""))


def _sealed(sealing: Sealing) -> type[Connection]:
    from freehold.storage.sealing import sealed_cursor

    class SealedConnection(Connection):
        digest_salt = sealing.digest_salt

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.cursor_factory = sealed_cursor(sealing)

    return SealedConnection


#: When each connection was last given back, on the process's clock.
_used_at: WeakKeyDictionary[AsyncConnection[DictRow], float] = WeakKeyDictionary()


async def _note_use(conn: AsyncConnection[DictRow]) -> None:
    _used_at[conn] = time.monotonic()


async def _check(conn: AsyncConnection[DictRow]) -> None:
    """Before a connection is handed out: whether it still works, with a question to the server only where there is a reason for one.

    A server that ends or restarts closes its connections, which is seen here; a network that drops idle ones says nothing.
    """
    recently = time.monotonic() - _used_at.get(conn, -IDLE_CHECK_SECONDS) < IDLE_CHECK_SECONDS
    if recently and not _has_spoken(conn.fileno()):
        return
    await AsyncConnectionPool.check_connection(conn)


def _has_spoken(fileno: int) -> bool:
    """Whether something waits to be read, where nothing was asked: a goodbye, or the end of the connection."""
    poll = select.poll()
    poll.register(fileno, select.POLLIN)
    return bool(poll.poll(0))


def connection_options(name: str) -> dict[str, Any]:
    """Keyword arguments every connection of ours is opened with."""
    return {**_GIVE_UP, "autocommit": True, "row_factory": dict_row, "application_name": name}


@asynccontextmanager
async def connection(pool: Pool) -> AsyncIterator[AsyncConnection[DictRow]]:
    """A connection for a few statements; never held across a model call.

    Raises:
        StorageUnavailable: the server cannot be reached or went away.
    """
    try:
        async with pool.connection() as conn:
            yield conn
    except CONNECTION_ERRORS as error:
        if not is_away(error):
            raise
        raise StorageUnavailable(
            f"the database does not answer: {str(error).strip().splitlines()[0] if str(error) else type(error).__name__}",
            hint="`freehold status` says whether it is up",
        ) from error


@asynccontextmanager
async def as_caller(pool: Pool, caller: Caller) -> AsyncIterator[AsyncConnection[DictRow]]:
    """A transaction that sees the caller's rows only (storage/row_security.py); for everything that serves a request.

    Raises as `connection`.
    """
    async with connection(pool) as conn, cast(Connection, conn).begun(caller=caller):
        yield conn


async def rows_of(pool: Pool, caller: Caller, statement: LiteralString, arguments: Mapping[str, Any]) -> list[DictRow]:
    """`as_caller` for one statement: its rows, in one round trip. `arguments` need not hold those of the caller.

    Raises as `connection`.
    """
    async with connection(pool) as conn:
        async with conn.pipeline():  # without BEGIN its statements are one transaction, committed at its end
            await act_for(conn, caller)
            answer = await conn.execute(statement, {**arguments, **caller.arguments()}, prepare=True)
        return await answer.fetchall()


async def act_for(conn: AsyncConnection[DictRow], caller: Caller) -> None:
    """For the transaction, or the pipeline without BEGIN, that a connection is in: it sees the caller's rows only."""
    await conn.execute(_ACT_FOR, caller.arguments(), prepare=True)


async def act_as_process(conn: AsyncConnection[DictRow]) -> None:
    """For the rest of a transaction of `as_caller`: what follows from the caller's right, on rows that have no owner of their own."""
    await conn.execute("SELECT set_config('role', 'none', true)", prepare=True)
