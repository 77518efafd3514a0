"""The HTTP side of a scripted model: the OpenAI endpoints, streaming and not, with everything that can go wrong on the way."""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from freehold.core.errors import Unhealthy
from freehold.lab.scripted_model.script import ECHO_AGENT, Answer, Call, Script, WrittenAs, decide, read_question, text_of

START_SECONDS = 10
#: Pieces that count as one token each; their concatenation is the text.
_TOKEN = re.compile(r"\s*\S{1,8}|\s+")
#: Characters of arguments in one streamed delta.
_ARGUMENT_CHARACTERS = 8


@dataclass(frozen=True)
class Received:
    """One chat completion request as it came, and when (`time.monotonic`)."""

    number: int
    body: dict[str, Any]
    at: float


class _Cut(Exception):
    """Ends a response in the middle; the server closes the connection."""


class ScriptedModel:
    """The application and what it has seen. `received` and `use` may be called from any thread."""

    def __init__(self, script: Script = ECHO_AGENT) -> None:
        self.url = ""
        #: Unique to this server, so ids of two servers in one thread of messages never collide.
        self._instance = secrets.token_hex(4)
        self._number = 0
        self._closing = threading.Event()
        self.use(script)
        self.app = Starlette(
            routes=[
                Route("/health", _health),
                Route("/v1/models", self._models),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/requests", self._requests),
            ]
        )

    @property
    def base_url(self) -> str:
        """What clients are given, e.g. `http://127.0.0.1:41234/v1`."""
        return f"{self.url}/v1"

    def use(self, script: Script) -> None:
        """Answer from `script` from now on; counts and received requests start anew, hanging requests are ended."""
        self._closing.set()
        self._closing = threading.Event()
        self.script = script
        self.received: list[Received] = []
        self._used: Counter[int] = Counter()

    def close(self) -> None:
        """End hanging requests."""
        self._closing.set()

    async def _models(self, _: Request) -> Response:
        entry: dict[str, Any] = {"id": self.script.model, "object": "model", "created": 0, "owned_by": "freehold"}
        if self.script.context_tokens:
            entry["max_model_len"] = self.script.context_tokens
        return JSONResponse({"object": "list", "data": [entry]})

    async def _requests(self, _: Request) -> Response:
        return JSONResponse({"count": len(self.received), "requests": [item.body for item in self.received]})

    async def _chat(self, request: Request) -> Response:
        body = orjson.loads(await request.body())
        self._number += 1
        self.received.append(Received(len(self.received) + 1, body, time.monotonic()))
        script, closing = self.script, self._closing
        prompt_tokens = sum(len(_tokens(text_of(message))) for message in body.get("messages") or ())
        if script.context_tokens and prompt_tokens > script.context_tokens:
            return _too_long(script.context_tokens, prompt_tokens)
        answer = decide(script, read_question(body, len(self.received)), self._used)
        if answer is None:
            return _error(400, "no rule of the script matches this request", "no_rule")
        self._used[answer.index] += 1
        if refused := _refusal(answer, prompt_tokens):
            return refused
        reply = _Reply(f"{self._instance}-{self._number}", script, answer, body, prompt_tokens, closing)
        if body.get("stream"):
            return StreamingResponse(reply.stream(), media_type="text/event-stream")
        return StreamingResponse(reply.whole(), media_type="application/json")


@asynccontextmanager
async def serving(script: Script = ECHO_AGENT, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[ScriptedModel]:
    """Serve from a thread of its own, so a test that blocks its event loop still has a model.

    Raises:
        Unhealthy: the port is taken or the server did not start.
    """
    model = ScriptedModel(script)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Unhealthy(f"port {port} on {host} cannot be used: {error}") from error
    model.url = f"http://{host}:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(model.app, log_config=None, log_level="critical", timeout_graceful_shutdown=1, lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listener],), name="scripted-model", daemon=True)
    thread.start()
    try:
        async with asyncio.timeout(START_SECONDS):
            while not server.started:  # noqa: ASYNC110 - set by uvicorn in another thread
                await asyncio.sleep(0.01)
        yield model
    finally:
        model.close()
        server.should_exit = True
        await asyncio.to_thread(thread.join, START_SECONDS)


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


class _Reply:
    """One answer on its way to the client, whole or in pieces."""

    def __init__(
        self, identity: str, script: Script, answer: Answer, body: dict[str, Any], prompt_tokens: int, closing: threading.Event
    ) -> None:
        self._identity = identity
        self._answer = answer
        self._body = body
        self._prompt_tokens = prompt_tokens
        self._closing = closing
        self._ttft = script.ttft_seconds if answer.rule.ttft_seconds is None else answer.rule.ttft_seconds
        self._rate = answer.rule.tokens_per_second or script.tokens_per_second
        self._model = str(body.get("model") or script.model)
        in_text = answer.rule.written_as != "call"
        self._calls = () if in_text else answer.calls
        text = (
            "\n".join([answer.text, *(_written(call, answer.rule.written_as) for call in answer.calls)]).strip() if in_text else answer.text
        )
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        pieces = _tokens(text)
        self._pieces = pieces[:limit]
        self._finish = "length" if len(self._pieces) < len(pieces) else "tool_calls" if self._calls else "stop"

    async def stream(self) -> AsyncIterator[bytes]:
        """Server-sent events as vLLM and llama.cpp send them."""
        await self._first_token()
        yield self._chunk({"role": "assistant", "content": ""})
        if self._answer.rule.failure == "malformed":
            yield b'data: {"choices": [{"delta": {"content": \n\n'
        started = time.monotonic()
        for index, piece in enumerate(self._pieces):
            await self._pace(started, index)
            await self._fail_at(index)
            yield self._chunk({"content": piece})
        await self._fail_at(len(self._pieces))
        for delta in self._call_deltas():
            yield self._chunk({"tool_calls": [delta]})
        yield self._chunk({}, finish=self._finish)
        if (self._body.get("stream_options") or {}).get("include_usage"):
            yield _event({**self._head("chat.completion.chunk"), "choices": [], "usage": self._usage()})
        yield b"data: [DONE]\n\n"

    async def whole(self) -> AsyncIterator[bytes]:
        """One JSON body."""
        await self._first_token()
        await self._pace(time.monotonic(), len(self._pieces))
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self._pieces) or None}
        if self._calls:
            message["tool_calls"] = [
                {"id": self._call_id(i), "type": "function", "function": {"name": call.name, "arguments": _arguments(call)}}
                for i, call in enumerate(self._calls)
            ]
        choice = {"index": 0, "message": message, "finish_reason": self._finish}
        data = orjson.dumps({**self._head("chat.completion"), "choices": [choice], "usage": self._usage()})
        if self._answer.rule.failure in {"cut", "malformed"}:
            yield data[: len(data) // 2]
            await self._fail_at(min(self._answer.rule.failure_after, len(self._pieces)))
            return
        await self._fail_at(min(self._answer.rule.failure_after, len(self._pieces)))
        yield data

    def _call_deltas(self) -> list[dict[str, Any]]:
        deltas: list[dict[str, Any]] = []
        for index, call in enumerate(self._calls):
            function: dict[str, str] = {"name": call.name, "arguments": ""}
            deltas.append({"index": index, "id": self._call_id(index), "type": "function", "function": function})
            text = _arguments(call)
            for start in range(0, len(text), _ARGUMENT_CHARACTERS):
                deltas.append({"index": index, "function": {"arguments": text[start : start + _ARGUMENT_CHARACTERS]}})
        return deltas

    async def _first_token(self) -> None:
        if self._ttft:
            await asyncio.sleep(self._ttft)

    async def _pace(self, started: float, tokens: int) -> None:
        """Wait until `tokens` tokens are due; against the start, so that delays do not add up."""
        if self._rate:
            await asyncio.sleep(max(0.0, started + tokens / self._rate - time.monotonic()))

    async def _fail_at(self, tokens: int) -> None:
        rule = self._answer.rule
        if tokens != min(rule.failure_after, len(self._pieces)):
            return
        if rule.failure == "hang":
            while not self._closing.is_set():  # noqa: ASYNC110 - set from another thread
                await asyncio.sleep(0.05)
        if rule.failure in {"cut", "hang"}:
            raise _Cut

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": f"chatcmpl-{self._identity}", "object": kind, "created": int(time.time()), "model": self._model}

    def _chunk(self, delta: dict[str, Any], *, finish: str | None = None) -> bytes:
        return _event({**self._head("chat.completion.chunk"), "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    def _call_id(self, index: int) -> str:
        return f"call_{self._identity}_{index}"

    def _usage(self) -> dict[str, int]:
        completion = len(self._pieces) + sum(len(_tokens(_arguments(call))) + 1 for call in self._calls)
        return {"prompt_tokens": self._prompt_tokens, "completion_tokens": completion, "total_tokens": self._prompt_tokens + completion}


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text)


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\n\n"


def _arguments(call: Call) -> str:
    return call.arguments if isinstance(call.arguments, str) else orjson.dumps(call.arguments).decode()


def _written(call: Call, how: WrittenAs) -> str:
    """A call written into the text, the way small models do."""
    value = {"name": call.name, "arguments": call.arguments}
    text = orjson.dumps(value).decode()
    return {"fenced": f"```json\n{text}\n```", "single_quotes": repr(value), "tags": f"<tool_call>\n{text}\n</tool_call>"}.get(how, text)


def _refusal(answer: Answer, prompt_tokens: int) -> Response | None:
    match answer.rule.failure:
        case "500":
            return _error(500, "internal server error", "server_error")
        case "503":
            return _error(503, "Loading model", "unavailable_error")
        case "429":
            return _error(429, "too many requests", "rate_limit_error")
        case "context_length":
            return _too_long(max(prompt_tokens - 1, 1), prompt_tokens)
        case "context_length_llama":
            return _too_long_llama(max(prompt_tokens - 1, 1), prompt_tokens)
        case _:
            return None


def _error(status: int, message: str, kind: str, **more: object) -> Response:
    return JSONResponse({"error": {"code": status, "message": message, "type": kind, **more}}, status_code=status)


def _too_long(limit: int, prompt_tokens: int) -> Response:
    """As vLLM and the OpenAI API say it."""
    message = f"This model's maximum context length is {limit} tokens. However, your request has {prompt_tokens} input tokens."
    return JSONResponse(
        {"error": {"message": message, "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}},
        status_code=400,
    )


def _too_long_llama(limit: int, prompt_tokens: int) -> Response:
    """As llama-server says it."""
    message = f"request ({prompt_tokens} tokens) exceeds the available context size ({limit} tokens), try increasing it"
    return _error(400, message, "exceed_context_size_error", n_prompt_tokens=prompt_tokens, n_ctx=limit)
