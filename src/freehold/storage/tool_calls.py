"""The log of tool calls: one row each, written behind the call so that a slow or lost database never delays or breaks it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any, Literal
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from freehold.core.caller import Caller
from freehold.core.errors import StorageUnavailable
from freehold.storage.pool import Pool, connection
from freehold.storage.queries import load
from freehold.telemetry import logs

log = logging.getLogger(__name__)

Outcome = Literal["ok", "error", "timeout", "invalid"]

#: Characters of an argument or error kept; a log is for reading, not for storing documents.
_KEEP_CHARACTERS = 4000


@dataclass(frozen=True)
class ToolCallRecord:
    """One finished call. `repair` says how a malformed call was mended, e.g. "json block; calculator → calculate"."""

    organisation: str
    owner: str
    thread_id: UUID | None
    run_id: UUID | None
    tool: str
    arguments: dict[str, Any]
    outcome: Outcome
    error: str | None
    repair: str | None
    duration_ms: float


class ToolCallLog:
    """Writes records in the background; `settle` waits for those of a run. Losing the database loses rows, nothing else."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._writing: dict[UUID | None, set[asyncio.Task[None]]] = defaultdict(set)

    def record(self, entry: ToolCallRecord) -> None:
        """Start writing a row; returns at once. Must be called on an event loop."""
        task = asyncio.create_task(self._write(entry), name=f"tool-call-log {entry.tool}")
        self._writing[entry.run_id].add(task)
        task.add_done_callback(lambda done: self._forget(entry.run_id, done))

    async def settle(self, run_id: UUID | None) -> None:
        """Wait until every row of a run is written or given up. Never raises for a lost row."""
        if tasks := list(self._writing.get(run_id, ())):
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _write(self, entry: ToolCallRecord) -> None:
        row = {**asdict(entry), "arguments": Jsonb(_storable(entry.arguments)), "error": entry.error and _text(entry.error)}
        try:
            async with connection(self._pool) as conn:
                await conn.execute(load("tool_calls")["insert"], row)
        except (StorageUnavailable, psycopg.Error) as error:
            extra = {"action": "tool_call_not_logged", "tool": entry.tool}
            log.warning("a call of %s was not logged: %s", entry.tool, logs.told(error), extra=extra)

    def _forget(self, run_id: UUID | None, task: asyncio.Task[None]) -> None:
        self._writing[run_id].discard(task)
        if not self._writing[run_id]:
            del self._writing[run_id]


async def of_run(pool: Pool, caller: Caller, run_id: UUID) -> list[dict[str, Any]]:
    """Calls of a run, oldest first; empty for a run of somebody else.

    Raises:
        StorageUnavailable: the database does not answer.
    """
    async with connection(pool) as conn:
        values = {**caller.arguments(), "run_id": run_id}
        return await (await conn.execute(load("tool_calls")["of_run"], values)).fetchall()


def _storable(value: Any) -> Any:
    """JSON as Postgres takes it: no NUL characters, no text of endless length, nothing that is not JSON."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return {_text(str(key)): _storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(item) for item in value]
    if isinstance(value, float) and (value != value or value in {float("inf"), float("-inf")}):
        return str(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    return _text(json.dumps(value, default=str))


def _text(text: str) -> str:
    clean = text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
    return clean if len(clean) <= _KEEP_CHARACTERS else clean[:_KEEP_CHARACTERS] + "…"
