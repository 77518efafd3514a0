"""The two ways to watch a run over HTTP: its events as they come, or its result once it is there."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from uuid import UUID

from freehold.core.caller import Caller, acting_for
from freehold.core.encode import to_json
from freehold.core.errors import Conflict, NotFound, StorageUnavailable
from freehold.core.event import START, EventId
from freehold.core.run import CancelAction, Run, RunStatus
from freehold.server import sse
from freehold.server.follow import RunFollower, requested_modes
from freehold.server.parts import ServerParts
from freehold.server.reply import JSON
from freehold.server.streaming import Silence, Streamed
from freehold.server.wire.runs import RunsCancelled
from freehold.server.wire.streams import as_classic

log = logging.getLogger(__name__)


def run_path(run: Run) -> str:
    """`/threads/…/runs/…`, also of a run without a thread of the client's: its own thread exists as long as it can be joined."""
    return f"/threads/{run.thread_id}/runs/{run.run_id}"


def stream_events(
    parts: ServerParts,
    run: Run,
    *,
    after: EventId = START,
    modes: frozenset[str] | None = None,
    cancel_on_disconnect: bool = False,
) -> Streamed:
    """Server-sent events of a run. `Location` is where a client that lost the connection goes on."""
    follower = RunFollower(parts, run, after)
    return Streamed(
        _event_pieces(follower, modes),
        headers={"Location": f"{run_path(run)}/stream", "Content-Location": run_path(run)},
        on_disconnect=partial(cancel_quietly, parts, run) if cancel_on_disconnect else None,
    )


def wait_for_result(parts: ServerParts, run: Run, *, cancel_on_disconnect: bool = False) -> Streamed:
    """The run's result as JSON, after newlines that keep the connection alive; so the status is 200 whatever comes."""
    follower = RunFollower(parts, run, end_only=True)
    return Streamed(
        _answer_pieces(follower),
        media_type=JSON,
        headers={"Location": f"{run_path(run)}/join", "Content-Location": run_path(run)},
        on_disconnect=partial(cancel_quietly, parts, run) if cancel_on_disconnect else None,
    )


async def cancel(parts: ServerParts, caller: Caller, run: Run, action: CancelAction) -> Run:
    """Ask for a run to stop, and tell the worker that holds it. Raises NotFound, Conflict."""
    stopping = await parts.runs.cancel(caller, run.thread_id, run.run_id, action)
    await parts.events.announce_cancel(run.run_id)
    return stopping


async def stop_runs(parts: ServerParts, caller: Caller, wanted: RunsCancelled, action: CancelAction) -> None:
    """Ask for many runs to stop. Raises NotFound where none of them is active."""
    statuses: tuple[RunStatus, ...] = ("pending", "running")
    if wanted.status and wanted.status != "all":
        statuses = (wanted.status,)
    of = (wanted.thread_id, wanted.run_ids) if wanted.thread_id and wanted.run_ids else None
    found, held = await parts.runs.cancel_many(caller, statuses, action, of=of)
    if not found:
        raise NotFound("no runs to cancel were found", hint="they may have ended, or not be yours")
    if held:
        await parts.events.announce_cancel(UUID(int=0))  # workers look at all they hold, whatever the id


async def _event_pieces(follower: RunFollower, modes: frozenset[str] | None) -> AsyncGenerator[bytes, None]:
    silence = Silence()
    async with aclosing(follower.batches()) as batches:
        async for batch in batches:
            if follower.tells_protocol:
                batch = [told for event in batch if (told := as_classic(event))]
            chosen = batch if modes is None else [event for event in batch if requested_modes(event, modes)]
            if chosen:
                yield sse.frames(chosen)
                silence.broken()
            elif silence.too_long():
                yield sse.HEARTBEAT


async def _answer_pieces(follower: RunFollower) -> AsyncGenerator[bytes, None]:
    silence = Silence()
    async with aclosing(follower.batches()) as batches:
        async for _ in batches:
            if silence.too_long():
                yield b"\n"
    assert follower.ending is not None
    yield to_json(follower.ending.answer())


async def cancel_quietly(parts: ServerParts, run: Run) -> None:
    """Stop a run because its client left."""
    try:
        await cancel(parts, acting_for(run), run, "interrupt")
    except (Conflict, NotFound):
        return  # it ended at the same moment
    except StorageUnavailable as error:
        log.warning("run %s goes on although its client left: %s", run.run_id, error.message, extra={"action": "cancel_failed"})
