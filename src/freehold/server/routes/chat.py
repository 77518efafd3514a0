"""Plain chat: a message in, an answer out, for scripts and people with curl."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from fastapi import APIRouter
from starlette.responses import Response

from freehold.core.caller import Caller
from freehold.core.encode import to_json
from freehold.core.errors import FreeholdError, StorageUnavailable
from freehold.core.ids import plain_thread_id
from freehold.core.run import Run, RunRequest
from freehold.server import sse
from freehold.server.agents import Agents, TalkingAgents
from freehold.server.auth import RunStarter
from freehold.server.conversation import TURN_MODES, Answer, Message, Restart, Said, Token, ToolCall, Turn, with_ids
from freehold.server.json_body import JsonRoute
from freehold.server.launch import choose_assistant, launch
from freehold.server.parts import Parts, ServerParts
from freehold.server.reply import reply
from freehold.server.streaming import Silence, Streamed
from freehold.server.watch import run_path
from freehold.server.wire.chat import ChatBody, ChatShown

log = logging.getLogger(__name__)

router = APIRouter(route_class=JsonRoute, tags=["chat"])


@router.post("/chat", response_model=ChatShown)
@router.post("/api/agent/chat", response_model=ChatShown)
async def chat(body: ChatBody, caller: RunStarter, parts: Parts, agents: TalkingAgents) -> Response:
    """Say something to an agent; the thread remembers."""
    name = body.thread_id or str(uuid4())
    given = with_ids([{"role": "user", "content": body.message}])
    run = await _launch(parts, agents, caller, body, plain_thread_id(caller.organisation, caller.owner, name), given)
    turn = Turn(parts, run, given)
    if body.stream:
        return Streamed(
            _pieces(parts, caller, body, name, turn),
            headers={"Content-Location": run_path(run)},
            on_disconnect=partial(_finish_unwatched, parts, caller, body, name, Turn(parts, run, given)),
        )
    async with aclosing(turn.said()) as saying:
        async for _ in saying:
            pass
    return reply(await _finish(parts, caller, body, name, turn), headers={"Content-Location": run_path(run)})


async def _launch(parts: ServerParts, agents: Agents, caller: Caller, body: ChatBody, thread_id: UUID, given: list[Message]) -> Run:
    chosen = await choose_assistant(parts, caller, body.assistant_id or await agents.default())
    await agents.check(chosen.graph_id)
    request = RunRequest(input={"messages": given}, stream_mode=TURN_MODES if body.stream else ("values",))
    return await launch(parts, caller, replace(chosen, thread_id=thread_id, create_thread=True), request)


async def _finish(parts: ServerParts, caller: Caller, body: ChatBody, name: str, turn: Turn) -> dict[str, Any]:
    """The answer as clients get it, recorded. Raises RunFailed, TimedOut."""
    answer = turn.answer()
    try:
        await parts.conversations.record(
            caller, thread_id=turn.run.thread_id, run_id=turn.run.run_id, message=body.message, response=answer.text
        )
    except StorageUnavailable as error:
        log.warning("a turn of run %s is not recorded: %s", turn.run.run_id, error.message, extra={"action": "turn_unrecorded"})
    return _shown(answer, name, turn.run)


async def _finish_unwatched(parts: ServerParts, caller: Caller, body: ChatBody, name: str, turn: Turn) -> None:
    """The client left, the run goes on: its turn is recorded all the same, unless this server stops before it ends."""
    try:
        async with aclosing(turn.said()) as saying:
            async for _ in saying:
                pass
        await _finish(parts, caller, body, name, turn)
    except FreeholdError as error:
        log.info("run %s, whose client left, gave no answer: %s", turn.run.run_id, error.message, extra={"action": "turn_unrecorded"})


def _shown(answer: Answer, name: str, run: Run) -> dict[str, Any]:
    return {
        "response": answer.text,
        "thread_id": name,
        "run_id": run.run_id,
        "tool_calls": answer.tool_calls,
        "sources": answer.sources,
        "usage": answer.usage,
        "interrupts": answer.interrupts,
    }


async def _pieces(parts: ServerParts, caller: Caller, body: ChatBody, name: str, turn: Turn) -> AsyncGenerator[bytes, None]:
    silence = Silence()
    async with aclosing(turn.said()) as saying:
        async for said in saying:
            if said:
                yield b"".join([_frame(item) for item in said])
                silence.broken()
            elif silence.too_long():
                yield sse.HEARTBEAT
    try:
        yield sse.frame("done", to_json(await _finish(parts, caller, body, name, turn)))
    except FreeholdError as error:
        yield sse.frame("error", to_json({"error": error.code, "message": error.message}))


def _frame(said: Said) -> bytes:
    match said:
        case Token(text):
            return sse.frame("token", to_json({"text": text}))
        case ToolCall(call_id, name, args):
            return sse.frame("tool_call", to_json({"id": call_id, "name": name, "args": args}))
        case Restart(attempt):
            return sse.frame("restart", to_json({"attempt": attempt}))
        case result:
            data = {"id": result.id, "name": result.name, "content": result.content, "status": result.status}
            return sse.frame("tool_result", to_json(data))
