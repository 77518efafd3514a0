"""The audit log behind the requests: notes who did what as the answer begins, and writes it in batches beside them.

Nobody waits for it. An entry is stored within about a quarter of a second; a process that is killed loses those it had not
written yet, one that is stopped writes them first. While the database is away they wait, as many as fit; what does not fit, and
what strangers without a credential pile up, is counted in `freehold_audit_lost_total` instead.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import MutableMapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import islice
from typing import Any, cast

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from freehold.core.caller import Caller
from freehold.core.errors import StorageUnavailable
from freehold.core.permissions import READING
from freehold.storage.audit import AuditEntry, AuditLog
from freehold.telemetry.metrics import AUDIT_LOST

log = logging.getLogger(__name__)

#: Entries that wait to be written, at most; and in one statement.
MOST_WAITING = 20_000
BATCH = 500

#: Seconds in which entries gather before they are written, and until a write is tried again.
GATHER_SECONDS = 0.25
RETRY_SECONDS = 1.0

#: Refusals of requests without a valid credential: so many a second are kept, and so many at once.
STRANGERS_PER_SECOND = 20.0
STRANGERS_AT_ONCE = 200.0

#: Also noted where nothing would have been changed.
REFUSALS = frozenset({401, 403, 429})

#: Characters of a name or an id, and of what a request was about: some hundred ids in one text.
_LONGEST = 200
_LONGEST_LIST = 4000

#: What a request turned out to be about, beside the ids in its path.
_about: ContextVar[dict[str, str]] = ContextVar("freehold_audit_about")


class AuditWriter:
    """Keeps entries until they are stored. An async context manager: leaving it writes what is left."""

    def __init__(self, audit_log: AuditLog) -> None:
        self._log = audit_log
        self._waiting: deque[AuditEntry] = deque()
        self._some = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._strangers = STRANGERS_AT_ONCE
        self._strangers_at = time.monotonic()

    async def __aenter__(self) -> AuditWriter:
        self._task = asyncio.create_task(self._write_for_ever(), name="audit")
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._stopping = True
        self._some.set()
        if self._task:
            await self._task

    def add(self, entry: AuditEntry) -> None:
        """Store an entry soon; never waits."""
        if not entry.owner and not self._strangers_fit():
            AUDIT_LOST.labels("strangers").inc()
        elif len(self._waiting) >= MOST_WAITING:
            AUDIT_LOST.labels("full").inc()
        else:
            self._waiting.append(entry)
            self._some.set()

    def _strangers_fit(self) -> bool:
        now = time.monotonic()
        self._strangers = min(STRANGERS_AT_ONCE, self._strangers + (now - self._strangers_at) * STRANGERS_PER_SECOND)
        self._strangers_at = now
        if self._strangers < 1:
            return False
        self._strangers -= 1
        return True

    async def _write_for_ever(self) -> None:
        while True:
            await self._some.wait()
            if not self._stopping:
                await asyncio.sleep(GATHER_SECONDS)
            self._some.clear()
            written = await self._write_all()
            if self._stopping:
                AUDIT_LOST.labels("stopped").inc(len(self._waiting))
                return
            if not written:
                self._some.set()
                await asyncio.sleep(RETRY_SECONDS)

    async def _write_all(self) -> bool:
        """Whether nothing is left to write."""
        try:
            while self._waiting:
                await self._write(list(islice(self._waiting, BATCH)))
        except StorageUnavailable:
            return False
        return True

    async def _write(self, batch: Sequence[AuditEntry]) -> None:
        """Store the first of those that wait. One that no table takes is dropped, not its neighbours."""
        try:
            await self._log.append(batch)
        except StorageUnavailable:
            raise
        except Exception:
            # Within a loop that must not end while the server lives.
            if len(batch) > 1:
                for entry in batch:
                    await self._write([entry])
                return
            log.exception("an audit entry cannot be stored", extra={"action": "audit_failed"})
            AUDIT_LOST.labels("failed").inc()
        for _ in batch:
            self._waiting.popleft()


class Audit:
    """ASGI middleware around everything, so that what the guard refuses is noted too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})  # what is further in may get a copy of the scope, but with the same state
        answered = False
        _about.set({})

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal answered
            if not answered and (status := _status(message)):
                answered = True
                _note(scope, status)
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception:
            if not answered:  # the answer to it is made further out
                _note(scope, 500)
            raise


def about(**objects: object) -> None:
    """Which objects the present request makes or changes, where its path does not name them: `about(thread_id=..., run_id=...)`."""
    _about.get({}).update({name: str(value) for name, value in objects.items()})


def note(scope: Scope, caller: Caller | None, action: tuple[str, str] | None, objects: dict[str, str], status: int) -> None:
    """Note one action of a request that may hold several, such as a command on a WebSocket.

    Args:
        action: as `permit` takes it; None where no rights were asked for.
        status: what HTTP would have answered.
    """
    if status not in REFUSALS and (action is None or action[1] in READING):
        return
    writer = cast("AuditWriter | None", getattr(scope["app"].state, "audit", None))
    if writer is None:
        return
    client = scope.get("client")
    writer.add(
        AuditEntry(
            at=datetime.now(UTC),
            organisation=_plain(caller.organisation) if caller else "",
            owner=_plain(caller.owner) if caller else "",
            credential=_plain(caller.credential) if caller else "",
            action=".".join(action) if action else _route(scope),
            objects={name: _plain(value, _LONGEST_LIST) for name, value in objects.items()},
            status=status,
            request_id=str(scope.get("request_id", "")),
            address=str(client[0]) if client else "",
        )
    )


def outcome(connection: HTTPConnection, status: int, objects: dict[str, str]) -> None:
    """How a command ended whose answer does not tell by its status: on a WebSocket noted here, else with the answer."""
    state = connection.scope["state"]
    if connection.scope["type"] == "websocket":
        if state.get("action") is None:  # told already
            return
        note(connection.scope, state.get("caller"), state.get("action"), objects, status)
        state["action"] = None  # the next command has one of its own
    else:
        state["objects"], state["outcome"] = objects, status


def _note(scope: Scope, status: int) -> None:
    state = scope["state"]
    objects = {str(name): str(value)[:_LONGEST] for name, value in (state.get("objects") or {}).items()}
    note(scope, state.get("caller"), state.get("action"), {**objects, **_about.get({})}, state.get("outcome", status))


def _status(message: MutableMapping[str, Any]) -> int:
    """HTTP status of the message that begins an answer; 0 for all others."""
    if message["type"] in {"http.response.start", "websocket.http.response.start"}:
        return int(message["status"])
    return {"websocket.accept": 101, "websocket.close": 403}.get(message["type"], 0)


def _route(scope: Scope) -> str:
    path = getattr(scope.get("route"), "path_format", None) or scope["path"]
    return _plain(f"{scope.get('method', 'WEBSOCKET')} {path}")


def _plain(text: str, longest: int = _LONGEST) -> str:
    """Short, and without what no column takes or would do something to the terminal of whoever reads it."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:longest])
