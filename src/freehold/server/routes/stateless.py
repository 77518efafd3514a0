"""Runs without a thread of the client's: each gets one of its own."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from freehold.server.auth import RunStarter
from freehold.server.json_body import JsonRoute
from freehold.server.launch import launch_without_thread
from freehold.server.parts import Parts
from freehold.server.reply import reply
from freehold.server.streaming import DOCUMENTED
from freehold.server.watch import run_path, stream_events, wait_for_result
from freehold.server.wire.runs import RunShown, RunWithoutThread, shown

router = APIRouter(prefix="/runs", route_class=JsonRoute, tags=["runs without a thread"])


@router.post("", response_model=RunShown)
async def create(body: RunWithoutThread, caller: RunStarter, parts: Parts) -> Response:
    """Start a run in the background."""
    run = await launch_without_thread(parts, caller, body)
    return reply(shown(run), headers={"Content-Location": run_path(run)})


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
