"""Keeps the leases of the runs a worker executes, from a thread with its own connection.

User code may block the event loop for a minute; leases must not run out because of it. The same round trip brings back
what was asked of each run (cancel) and shows which ones are no longer ours. The thread also watches the event loop and
logs where it hangs.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import DictRow

from freehold.core.run import CancelAction, Run
from freehold.storage import queries
from freehold.storage.pool import connection_options

log = logging.getLogger(__name__)

#: A loop that has not turned for this long is reported with its stack.
STALL_SECONDS = 1.0

#: A server that fell silent is noticed before the leases run out.
_IMPATIENT: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 3,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 5000,  # milliseconds
}


@dataclass(frozen=True)
class Held:
    """A run under lease and whom to tell about it; both are called on the event loop."""

    run_id: UUID
    epoch: int
    on_lost: Callable[[], None]
    on_cancel: Callable[[CancelAction], None]


class LeaseKeeper:
    """Use as a context manager around a worker's life; `hold` and `drop` may be called from the event loop."""

    def __init__(self, database_url: str, lease_seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        self._url = database_url
        self._lease_seconds = lease_seconds
        self._loop = loop
        self._loop_thread = threading.get_ident()
        self._held: dict[UUID, Held] = {}
        self._lock = threading.Lock()
        self._hurry = threading.Event()
        self._stopped = False
        self._turned_at = time.monotonic()
        self._thread = threading.Thread(target=self._keep, name="freehold-leases", daemon=True)
        self._watch = threading.Thread(target=self._watch_loop, name="freehold-loop-watch", daemon=True)

    def __enter__(self) -> LeaseKeeper:
        self._thread.start()
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        self._hurry.set()
        self._thread.join(timeout=5)

    def hold(self, run: Run, *, on_lost: Callable[[], None], on_cancel: Callable[[CancelAction], None]) -> None:
        """Renew this run's lease from now on. Where an older claim of it is held here, that one is told that it is lost."""
        with self._lock:
            older = self._held.get(run.run_id)
            self._held[run.run_id] = Held(run.run_id, run.epoch, on_lost, on_cancel)
        if older:  # this process slept longer than the lease, and was given its own run again
            older.on_lost()

    def drop(self, run: Run) -> None:
        """Stop renewing: the run ended or was given back. A later claim of it stays held."""
        with self._lock:
            held = self._held.get(run.run_id)
            if held and held.epoch == run.epoch:
                del self._held[run.run_id]

    def look_now(self) -> None:
        """Renew at once, because somebody announced a cancellation."""
        self._hurry.set()

    def _keep(self) -> None:
        connection: psycopg.Connection[DictRow] | None = None
        while not self._stopped:
            self._hurry.wait(self._lease_seconds / 4)
            self._hurry.clear()
            with self._lock:
                held = list(self._held.values())
            if not held:
                continue
            try:
                if connection is None or connection.closed:
                    connection = psycopg.connect(self._url, **{**connection_options("freehold-leases"), **_IMPATIENT})
                self._renew(connection, held)
            except psycopg.Error as error:
                log.warning("leases could not be renewed, trying again: %s", error, extra={"action": "lease_renew_failed"})
                if connection:
                    connection.close()
                connection = None
                time.sleep(0.5)
        if connection:
            connection.close()

    def _renew(self, connection: psycopg.Connection[DictRow], held: list[Held]) -> None:
        rows = connection.execute(
            queries.load("runs")["renew"],
            {
                "lease_seconds": self._lease_seconds,
                "run_ids": [item.run_id for item in held],
                "epochs": [item.epoch for item in held],
            },
        ).fetchall()
        ours = {row["run_id"]: row["cancel"] for row in rows}
        for item in held:
            if item.run_id not in ours:
                self._tell_lost(item)
            elif ours[item.run_id]:
                self._call(item.on_cancel, ours[item.run_id])

    def _tell_lost(self, item: Held) -> None:
        with self._lock:
            still_held = self._held.get(item.run_id)
            if still_held is None or still_held.epoch != item.epoch:
                return  # it ended between our look and the answer
            del self._held[item.run_id]
        self._call(item.on_lost)

    def _call(self, callback: Callable[..., None], *arguments: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _watch_loop(self) -> None:
        reported = False
        while not self._stopped:
            self._call(self._turn)
            time.sleep(STALL_SECONDS / 2)
            stalled = time.monotonic() - self._turned_at
            if stalled < STALL_SECONDS + STALL_SECONDS / 2:
                reported = False
            elif not reported:
                reported = True
                frame = sys._current_frames().get(self._loop_thread)
                stack = "".join(traceback.format_stack(frame)[-6:]) if frame else "unknown"
                log.warning(
                    "the event loop has been blocked for %.1f s; make this code async or run it in a thread:\n%s",
                    stalled,
                    stack,
                    extra={"action": "loop_stalled", "seconds": round(stalled, 1)},
                )

    def _turn(self) -> None:
        self._turned_at = time.monotonic()
