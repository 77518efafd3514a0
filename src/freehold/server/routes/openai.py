"""OpenAI's endpoint, where each agent is a model; any client that can change its base URL can talk to it."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from freehold.core.caller import Caller
from freehold.core.encode import to_json
from freehold.core.errors import FreeholdError, NotFound
from freehold.core.run import Run, RunRequest
from freehold.server import sse
from freehold.server.agents import Agents, TalkingAgents
from freehold.server.auth import AssistantReader, AssistantSearcher, RunStarter
from freehold.server.conversation import TURN_MODES, Answer, Message, Token, Turn, with_ids
from freehold.server.json_body import JsonRoute
from freehold.server.launch import choose_assistant, launch
from freehold.server.parts import Parts, ServerParts
from freehold.server.reply import nothing, reply
from freehold.server.streaming import Silence, Streamed
from freehold.server.watch import cancel_quietly, run_path
from freehold.server.wire import openai as wire
from freehold.server.wire.body import JsonObject

router = APIRouter(prefix="/v1", route_class=JsonRoute, tags=["OpenAI"])

_DONE = b"data: [DONE]\n\n"


@router.get("/models", response_model=JsonObject)
async def models(caller: AssistantSearcher, agents: TalkingAgents) -> Response:
    """The agents that can be talked to, as models."""
    return reply({"object": "list", "data": [_model(graph_id) for graph_id in await agents.list()]})


@router.get("/models/{model}", response_model=JsonObject)
async def model(model: str, caller: AssistantReader, agents: TalkingAgents) -> Response:
    """One of them."""
    if model not in await agents.list():
        raise NotFound(f'no model "{model[:100]}"', hint="GET /v1/models lists them")
    return reply(_model(model))


@router.post("/chat/completions", response_model=JsonObject)
async def chat_completions(
    body: wire.CompletionBody,
    request: Request,
    caller: RunStarter,
    parts: Parts,
    agents: TalkingAgents,
) -> Response:
    """Let an agent answer; it remembers nothing, the client sends the whole conversation."""
    given = with_ids([message.plain() for message in body.messages])
    run = await _launch(parts, agents, caller, body, given)
    head = {"id": f"chatcmpl-{run.run_id}", "created": int(time.time()), "model": body.model}
    turn = Turn(parts, run, given)
    if body.stream:
        return Streamed(
            _pieces(turn, head, with_usage=body.stream_options.include_usage),
            headers={"Content-Location": run_path(run)},
            on_disconnect=lambda: cancel_quietly(parts, run),
        )
    async with aclosing(turn.said()) as saying:
        async for _ in saying:
            if await request.is_disconnected():
                await cancel_quietly(parts, run)
                return nothing()
    return reply(wire.completion(head, turn.answer()), headers={"Content-Location": run_path(run)})


async def _launch(parts: ServerParts, agents: Agents, caller: Caller, body: wire.CompletionBody, given: list[Message]) -> Run:
    chosen = await choose_assistant(parts, caller, body.model)
    await agents.check(chosen.graph_id)
    request = RunRequest(
        input={"messages": given},
        config={"configurable": body.sampling()},
        stream_mode=TURN_MODES if body.stream else ("values",),
        on_completion="delete",
    )
    return await launch(parts, caller, replace(chosen, temporary=True), request)


async def _pieces(turn: Turn, head: JsonObject, *, with_usage: bool) -> AsyncGenerator[bytes, None]:
    silence = Silence()
    yield _data(wire.chunk(head, {"role": "assistant", "content": ""}))
    streamed = ""
    async with aclosing(turn.said()) as saying:
        async for said in saying:
            text = "".join(item.text for item in said if isinstance(item, Token))
            streamed += text
            if text:
                yield _data(wire.chunk(head, {"content": text}))
                silence.broken()
            elif silence.too_long():
                yield sse.HEARTBEAT
    try:
        answer = turn.answer()
    except FreeholdError as error:
        yield _data({"error": {"message": error.message, "type": "server_error", "param": None, "code": error.code}})
        return
    yield _tail(head, answer, streamed, with_usage=with_usage)


def _tail(head: JsonObject, answer: Answer, streamed: str, *, with_usage: bool) -> bytes:
    pieces = [_data(wire.chunk(head, {"content": rest}))] if (rest := _not_streamed(answer, streamed)) else []
    pieces.append(_data(wire.chunk(head, {}, answer.finish_reason)))
    if with_usage:
        pieces.append(_data(wire.usage_chunk(head, answer)))
    return b"".join([*pieces, _DONE])


def _not_streamed(answer: Answer, streamed: str) -> str:
    """What the answer has beyond its tokens: all of it, where the model does not stream, or the sources found at the end."""
    if streamed.endswith(answer.text):
        return ""
    if not streamed:
        return answer.text
    names = dict.fromkeys(str(source["source"]) for source in answer.sources if isinstance(source, dict) and source.get("source"))
    return f"\n\nSources: {', '.join(names)}" if names else ""


def _data(value: JsonObject) -> bytes:
    return b"data: %s\n\n" % to_json(value)


def _model(graph_id: str) -> JsonObject:
    return {"id": graph_id, "object": "model", "created": 0, "owned_by": "freehold"}
