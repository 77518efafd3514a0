"""Crons: runs that are started by the clock, on one thread or on a thread each."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime
from typing import Annotated, cast
from uuid import UUID

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from freehold.core.caller import Caller
from freehold.core.ids import new_id
from freehold.core.run import graph_keys
from freehold.server import audit
from freehold.server.auth import Authentication, permit
from freehold.server.json_body import JsonRoute
from freehold.server.launch import find_assistant
from freehold.server.parts import Parts, ServerParts
from freehold.server.reply import nothing, page, reply
from freehold.server.wire.body import JsonObject
from freehold.server.wire.crons import (
    CronBody,
    CronCount,
    CronOnThread,
    CronPatch,
    CronSearch,
    CronShown,
    CronWithoutThread,
    patched,
    shown,
)

CronCreator = Annotated[Caller, permit("crons", "create")]
CronReader = Annotated[Caller, permit("crons", "read")]
CronChanger = Annotated[Caller, permit("crons", "update")]
CronDeleter = Annotated[Caller, permit("crons", "delete")]
CronSearcher = Annotated[Caller, permit("crons", "search")]

#: What a change of a cron says of the runs it starts.
_OF_RUNS = ("input", "config", "context", "webhook")

router = APIRouter(route_class=JsonRoute, tags=["crons"])


@router.post("/runs/crons", response_model=CronShown)
async def create(body: CronWithoutThread, request: Request, caller: CronCreator, parts: Parts) -> Response:
    """Start a run at the times of a schedule, each on a thread of its own."""
    return await _create(request, parts, caller, body)


@router.post("/threads/{thread_id}/runs/crons", response_model=CronShown)
async def create_on_thread(thread_id: UUID, body: CronOnThread, request: Request, caller: CronCreator, parts: Parts) -> Response:
    """Start a run on a thread at the times of a schedule."""
    return await _create(request, parts, caller, body, thread_id)


@router.post("/runs/crons/search", response_model=list[CronShown])
async def search(caller: CronSearcher, parts: Parts, body: CronSearch | None = None) -> Response:
    """The caller's crons."""
    body = body or CronSearch()
    found, total = await parts.crons.search(caller, body.filter(await _assistant(parts, caller, body)))
    return page([shown(cron, body.select) for cron in found], total, limit=body.limit, offset=body.offset)


@router.post("/runs/crons/count", response_model=int)
async def count(caller: CronSearcher, parts: Parts, body: CronCount | None = None) -> Response:
    """How many crons the caller has."""
    body = body or CronCount()
    return reply(await parts.crons.count(caller, body.filter(await _assistant(parts, caller, body))))


@router.get("/runs/crons/{cron_id}", response_model=CronShown)
async def get(cron_id: UUID, caller: CronReader, parts: Parts) -> Response:
    """One cron; `last_error` says why its last firing started no run, or why it was disabled."""
    return reply(shown(await parts.crons.get(caller, cron_id)))


@router.patch("/runs/crons/{cron_id}", response_model=CronShown)
async def patch(cron_id: UUID, body: CronPatch, request: Request, caller: CronChanger, parts: Parts) -> Response:
    """Change a cron; what is left out stays."""
    if body.webhook:
        await parts.webhook_policy.check(body.webhook)
    given = _with_metadata(await request.json(), body.metadata)
    if given.get("metadata") or any(given.get(key) is not None for key in _OF_RUNS):
        given = await _allowed_change(request, caller, parts, cron_id, given)
    return reply(shown(await parts.crons.change(caller, cron_id, lambda cron: patched(cron, given, datetime.now(UTC)))))


@router.delete("/runs/crons/{cron_id}", status_code=204, response_model=None)
async def delete(cron_id: UUID, caller: CronDeleter, parts: Parts) -> Response:
    """Fire no more; runs that were started go on."""
    await parts.crons.delete(caller, cron_id)
    return nothing()


async def _create(request: Request, parts: ServerParts, caller: Caller, body: CronBody, thread_id: UUID | None = None) -> Response:
    if body.webhook:
        await parts.webhook_policy.check(body.webhook)
    runner, decided = await _runner(request, caller, body, thread_id)
    assistant_id, _ = await find_assistant(parts, runner, body.assistant_id)
    given = {**_with_metadata(await request.json(), body.metadata), **decided}
    payload = {key: value for key, value in given.items() if value is not None}
    body = body.model_validate(payload) if decided else body
    user = dict(caller.user) if caller.user else None
    cron = body.cron(new_id(), assistant_id, payload=payload, thread_id=thread_id, user=user, now=datetime.now(UTC))
    audit.about(cron_id=cron.cron_id)
    return reply(shown(await parts.crons.create(caller, cron, runner=runner)))


async def _runner(request: Request, caller: Caller, body: CronBody, thread_id: UUID | None) -> tuple[Caller, JsonObject]:
    """Who makes a cron starts runs, so the right to that is needed, and the project's rules for it are asked too.

    Also what these made of the run: keys of the body, as far as they changed it.
    """
    authentication = cast(Authentication, request.app.state.authentication)
    config: JsonObject = {"configurable": {}, **body.config.plain()}
    kwargs = {"input": body.input, "config": config, "context": body.context, "webhook": body.webhook}
    offered: JsonObject = {"thread_id": thread_id, "assistant_id": body.assistant_id, "metadata": dict(body.metadata), "kwargs": kwargs}
    before, told = deepcopy(offered), request.state.action
    runner = await authentication.allow(request, caller, "threads", "create_run", offered)
    request.state.action = told  # what the audit log tells of
    decided = {key: value for key, value in kwargs.items() if value != before["kwargs"][key]}
    if offered["metadata"] != before["metadata"]:
        decided["metadata"] = offered["metadata"]
    if body.context and "config" in decided and not graph_keys(before["kwargs"]["config"]["configurable"]):
        # The client gave its settings as context: what a handler adds is more of them.
        added = graph_keys(config["configurable"])
        decided["context"] = {**(kwargs["context"] or {}), **added}
        decided["config"] = {**config, "configurable": {key: value for key, value in config["configurable"].items() if key not in added}}
    return runner, decided


async def _allowed_change(request: Request, caller: Caller, parts: ServerParts, cron_id: UUID, given: JsonObject) -> JsonObject:
    """The same for a change of what a cron runs: rules that decided over it when it was made decide over it again."""
    cron = await parts.crons.get(caller, cron_id)
    payload = patched(cron, given, datetime.now(UTC)).payload
    body = (CronWithoutThread if cron.thread_id is None else CronOnThread).model_validate(payload)
    _, decided = await _runner(request, caller, body, cron.thread_id)
    return {**given, **decided}


def _with_metadata(given: JsonObject, metadata: JsonObject | None) -> JsonObject:
    """A handler of the project may have changed the metadata on its way here."""
    return given if metadata is None else {**given, "metadata": metadata}


async def _assistant(parts: ServerParts, caller: Caller, body: CronCount) -> UUID | None:
    return (await find_assistant(parts, caller, body.assistant_id))[0] if body.assistant_id else None
