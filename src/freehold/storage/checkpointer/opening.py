"""Opens a saver of its own pool, with `async with`, or with `with` in a program that has no event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

S = TypeVar("S")
T = TypeVar("T")


class Opening(Generic[S]):
    """What `from_conn_string` gives. Connections are checked before use, so that idle ones may be cut."""

    def __init__(self, conn_string: str, max_size: int, make: Callable[[AsyncConnectionPool[AsyncConnection[DictRow]]], S]) -> None:
        self._conn_string = conn_string
        self._max_size = max_size
        self._make = make
        self._pool: AsyncConnectionPool[AsyncConnection[DictRow]] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    async def __aenter__(self) -> S:
        self._pool = AsyncConnectionPool(
            self._conn_string,
            min_size=1,
            max_size=self._max_size,
            open=False,
            name="checkpoints",
            max_idle=300,
            check=AsyncConnectionPool.check_connection,
            connection_class=AsyncConnection[DictRow],
            kwargs={"autocommit": True, "row_factory": dict_row, "application_name": "freehold-checkpointer"},
        )
        await self._pool.open(wait=True)
        return self._make(self._pool)

    async def __aexit__(self, *_: object) -> None:
        assert self._pool is not None
        await self._pool.close()

    def __enter__(self) -> S:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="checkpoints", daemon=True)
        self._thread.start()
        try:
            return self._on_loop(self.__aenter__())
        except BaseException:
            self._end_loop()
            raise

    def __exit__(self, *_: object) -> None:
        try:
            self._on_loop(self.__aexit__())
        finally:
            self._end_loop()

    def _on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end_loop(self) -> None:
        assert self._loop is not None and self._thread is not None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
