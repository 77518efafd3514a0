"""Runs without a thread of the client's: each gets one of its own."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from freehold.core.run import CancelAction
from freehold.server import audit
from freehold.server.auth import RunStarter, ThreadChanger
from freehold.server.json_body import JsonRoute
from freehold.server.launch import launch_batch, launch_without_thread
from freehold.server.parts import Parts
from freehold.server.reply import nothing, reply
from freehold.server.streaming import DOCUMENTED
from freehold.server.watch import run_path, stop_runs, stream_events, wait_for_result
from freehold.server.wire.runs import Batch, RunsCancelled, RunShown, RunWithoutThread, shown

router = APIRouter(prefix="/runs", route_class=JsonRoute, tags=["runs without a thread"])


@router.post("", response_model=RunShown)
async def create(body: RunWithoutThread, caller: RunStarter, parts: Parts) -> Response:
    """Start a run in the background."""
    run = await launch_without_thread(parts, caller, body)
    return reply(shown(run), headers={"Content-Location": run_path(run)})


@router.post("/batch", response_model=list[RunShown])
async def create_batch(body: Batch, caller: RunStarter, parts: Parts) -> Response:
    """Start several runs in the background: all of them, or none where one is refused."""
    return reply([shown(run) for run in await launch_batch(parts, caller, body)])


@router.post("/cancel", status_code=204, response_model=None)
async def cancel_many(body: RunsCancelled, caller: ThreadChanger, parts: Parts, action: CancelAction = "interrupt") -> Response:
    """Stop runs of a thread by their ids, or all of the caller's in a status; 404 where there are none."""
    if body.run_ids:
        audit.about(thread_id=body.thread_id, run_ids=" ".join(str(run_id) for run_id in body.run_ids))
    await stop_runs(parts, caller, body, action)
    return nothing()


@router.post("/wait", response_model=Any)
async def wait(body: RunWithoutThread, caller: RunStarter, parts: Parts) -> Response:
    """Start a run and wait for its result."""
    run = await launch_without_thread(parts, caller, body)
    return wait_for_result(parts, run, cancel_on_disconnect=body.on_disconnect == "cancel")


@router.post("/stream", response_model=None, responses=DOCUMENTED)
async def stream(body: RunWithoutThread, caller: RunStarter, parts: Parts) -> Response:
    """Start a run and stream its events."""
    run = await launch_without_thread(parts, caller, body)
    return stream_events(parts, run, cancel_on_disconnect=body.on_disconnect == "cancel")
