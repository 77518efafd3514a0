"""Runs on a thread: create, wait, stream, list, get, delete, join, cancel."""

from __future__ import annotations

from typing import Annotated, Any, cast
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query
from starlette.requests import Request
from starlette.responses import Response

from freehold.core.caller import Caller
from freehold.core.event import EventId
from freehold.core.run import CancelAction, RunStatus
from freehold.server.auth import Authentication, RunStarter, ThreadChanger, ThreadDeleter, ThreadReader
from freehold.server.follow import RunFollower
from freehold.server.json_body import JsonRoute
from freehold.server.launch import launch_on_thread
from freehold.server.parts import Parts
from freehold.server.reply import nothing, page, reply
from freehold.server.streaming import DOCUMENTED
from freehold.server.watch import cancel, run_path, stream_events, wait_for_result
from freehold.server.wire.body import only
from freehold.server.wire.runs import RunOnThread, RunShown, Selected, modes_in_query, shown
from freehold.server.wire.threads import Limit, Offset

router = APIRouter(prefix="/threads/{thread_id}/runs", route_class=JsonRoute, tags=["runs"])


async def _stopper(request: Request, cancel_on_disconnect: bool = False) -> Caller | None:
    """Who stops a run by leaving: they need the right to stop it, not only to read it."""
    if not cancel_on_disconnect:
        return None
    return await cast(Authentication, request.app.state.authentication).permitted(request, "threads", "update")


#: None where leaving stops nothing.
Stopper = Annotated[Caller | None, Depends(_stopper)]


@router.post("", response_model=RunShown)
async def create(thread_id: UUID, body: RunOnThread, caller: RunStarter, parts: Parts) -> Response:
    """Start a run in the background."""
    run = await launch_on_thread(parts, caller, thread_id, body)
    return reply(shown(run), headers={"Content-Location": run_path(run)})


@router.post("/wait", response_model=Any)
async def wait(thread_id: UUID, body: RunOnThread, caller: RunStarter, parts: Parts) -> Response:
    """Start a run and wait for its result."""
    run = await launch_on_thread(parts, caller, thread_id, body)
    return wait_for_result(parts, run, cancel_on_disconnect=body.on_disconnect == "cancel")


@router.post("/stream", response_model=None, responses=DOCUMENTED)
async def stream(thread_id: UUID, body: RunOnThread, caller: RunStarter, parts: Parts) -> Response:
    """Start a run and stream its events."""
    run = await launch_on_thread(parts, caller, thread_id, body)
    return stream_events(parts, run, cancel_on_disconnect=body.on_disconnect == "cancel")


@router.get("", response_model=list[RunShown])
async def list_runs(
    thread_id: UUID,
    caller: ThreadReader,
    parts: Parts,
    limit: Limit = 10,
    offset: Offset = 0,
    status: RunStatus | None = None,
    select: Annotated[list[Selected] | None, Query()] = None,
) -> Response:
    """Runs of a thread, newest first."""
    await parts.threads.get(caller, thread_id)
    found, total = await parts.runs.page(caller, thread_id, limit=limit, offset=offset, status=status)
    return page([only(select, shown(run)) for run in found], total, limit=limit, offset=offset)


@router.get("/{run_id}", response_model=RunShown)
async def get(
    thread_id: UUID, run_id: UUID, caller: ThreadReader, parts: Parts, select: Annotated[list[Selected] | None, Query()] = None
) -> Response:
    """One run."""
    return reply(only(select, shown(await parts.runs.get(caller, thread_id, run_id))))


@router.delete("/{run_id}", status_code=204, response_model=None)
async def delete(thread_id: UUID, run_id: UUID, caller: ThreadDeleter, parts: Parts) -> Response:
    """Forget a run that has ended; the thread keeps its state."""
    await parts.runs.delete(caller, thread_id, run_id)
    await parts.events.delete(run_id)
    return nothing()


@router.get("/{run_id}/join", response_model=Any)
async def join(thread_id: UUID, run_id: UUID, caller: ThreadReader, stopper: Stopper, parts: Parts) -> Response:
    """Wait for the result of a run that was started before."""
    run = await parts.runs.get(caller, thread_id, run_id)
    if stopper:
        await parts.runs.get(stopper, thread_id, run_id)
    return wait_for_result(parts, run, cancel_on_disconnect=stopper is not None)


@router.get("/{run_id}/stream", response_model=None, responses=DOCUMENTED)
async def join_stream(
    thread_id: UUID,
    run_id: UUID,
    caller: ThreadReader,
    parts: Parts,
    stopper: Stopper,
    stream_mode: Annotated[list[str] | None, Query()] = None,
    last_event_id: Annotated[str, Header()] = "",
) -> Response:
    """Stream the events of a run behind `Last-Event-ID`; from its first one without."""
    after = EventId.parse(last_event_id)
    modes = modes_in_query(stream_mode or ())
    run = await parts.runs.get(caller, thread_id, run_id)
    if stopper:
        await parts.runs.get(stopper, thread_id, run_id)
    return stream_events(parts, run, after=after, modes=modes, cancel_on_disconnect=stopper is not None)


@router.post("/{run_id}/cancel", response_model=None, responses={202: {}, 204: {}})
async def cancel_run(
    thread_id: UUID,
    run_id: UUID,
    caller: ThreadChanger,
    parts: Parts,
    wait: bool = False,
    action: CancelAction = "interrupt",
) -> Response:
    """Stop a run; "interrupt" keeps its checkpoints, "rollback" removes them with the run."""
    run = await parts.runs.get(caller, thread_id, run_id)
    stopping = await cancel(parts, caller, run, action)
    if not wait:
        return nothing(202)
    if stopping.is_active:
        await RunFollower(parts, run, end_only=True).end()
    return nothing()
