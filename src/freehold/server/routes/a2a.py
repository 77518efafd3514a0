"""A2A over JSON-RPC: agents that keep `messages` talk to other agents. A context is a thread, a task is a run.

A task goes on when its client leaves: it can be asked for, streamed again, answered and cancelled by its id.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from freehold.core.caller import Caller
from freehold.core.encode import to_json
from freehold.core.errors import Conflict
from freehold.server import sse
from freehold.server.a2a import tasks, wire
from freehold.server.a2a.card import card
from freehold.server.a2a.tasks import Followed
from freehold.server.a2a.wire import Dialect, Task, read_count, read_message
from freehold.server.agents import Agents, TalkingAgents
from freehold.server.auth import Authenticated, Authentication, permit
from freehold.server.conversation import Restart, Token, Turn
from freehold.server.follow import RunFollower
from freehold.server.json_body import JsonRoute
from freehold.server.json_rpc import ABOUT_THE_CALL, INVALID_PARAMS, METHOD_NOT_FOUND, Call, CallId, RpcError, answered, failed, read_call
from freehold.server.launch import choose_assistant
from freehold.server.parts import Parts, ServerParts
from freehold.server.reply import JSON, nothing, reply
from freehold.server.streaming import Silence, Streamed
from freehold.server.watch import cancel
from freehold.storage.runs import Target
from freehold.storage.tasks import Tasks

router = APIRouter(route_class=JsonRoute, tags=["A2A"])

_BODY = {"requestBody": {"required": True, "content": {JSON: {"schema": {"type": "object", "required": ["jsonrpc", "method"]}}}}}
_PAGE = 50
_MOST = 100

Action = Literal["read", "search", "update", "create_run"]
CardReader = Annotated[Caller, permit("assistants", "read")]


@dataclass(frozen=True)
class Exchange:
    """One call and all it takes to answer it."""

    request: Request
    parts: ServerParts
    caller: Caller
    target: Target
    call: Call
    dialect: Dialect

    def result(self, value: Any) -> Response:
        return reply(answered(self.call.id, value))


@router.get("/a2a/{assistant_id}/.well-known/agent-card.json", response_model=dict[str, Any])
async def get_card(assistant_id: str, request: Request, caller: CardReader, parts: Parts, agents: TalkingAgents) -> Response:
    """What the assistant is, for programs that look for agents."""
    return reply(await _card(request, parts, caller, agents, assistant_id))


@router.get("/.well-known/agent-card.json", response_model=dict[str, Any])
async def get_default_card(
    request: Request, caller: CardReader, parts: Parts, agents: TalkingAgents, assistant_id: str | None = None
) -> Response:
    """The same, of an assistant that is named in the query; else of the one plain chat talks to."""
    return reply(await _card(request, parts, caller, agents, assistant_id or await agents.default()))


async def _card(request: Request, parts: ServerParts, caller: Caller, agents: Agents, named: str) -> dict[str, Any]:
    target = await choose_assistant(parts, caller, named)
    await agents.check(target.graph_id)
    assistant = await parts.assistants.get(caller, target.assistant_id)
    url = f"{str(request.base_url).rstrip('/')}/a2a/{target.assistant_id}"
    return card(assistant, url, needs_key=parts.settings.server.needs_keys)


@router.post("/a2a/{assistant_id}", response_model=dict[str, Any], openapi_extra=_BODY)
async def a2a(assistant_id: str, request: Request, caller: Authenticated, parts: Parts, agents: TalkingAgents) -> Response:
    """One call of the Agent2Agent protocol: message/send and /stream, tasks/get, /cancel and /resubscribe, or their names of 1.0."""
    call = Call("", {})
    try:
        call = await read_call(request)
        if call.is_response or call.is_notification:
            return nothing(202)
        found = _METHODS.get(call.method)
        if found is None:
            raise RpcError(*_unknown(call.method))
        dialect = Dialect(legacy="/" in call.method)
        _check_version(call, dialect)
        kwargs: dict[str, Any] = {"input": call.params.get("message"), "config": {"configurable": {}}}
        offered: dict[str, Any] = {"assistant_id": assistant_id, "metadata": {}, "kwargs": kwargs}
        authentication = cast(Authentication, request.app.state.authentication)
        caller = await authentication.allow(request, caller, "threads", found.action, offered)
        target = await choose_assistant(parts, caller, assistant_id)
        await agents.check(target.graph_id)
        return await found.run(Exchange(request, parts, caller, target, replace(call, metadata=offered["metadata"]), dialect))
    except RpcError as error:
        await _find(request, caller, parts, assistant_id)  # an agent that is not there is that, whatever it was told
        return reply(failed(call.id, error))


async def _find(request: Request, caller: Caller, parts: ServerParts, assistant_id: str) -> None:
    """Raises NotFound where the caller has no such assistant."""
    authentication = cast(Authentication, request.app.state.authentication)
    reader = await authentication.allow(request, caller, "assistants", "read", {"assistant_id": assistant_id, "metadata": {}})
    await choose_assistant(parts, reader, assistant_id)


def _unknown(method: str) -> tuple[int, str]:
    if "pushnotification" in method.lower():
        return wire.PUSH_NOT_SUPPORTED, "push notifications are not supported"
    return METHOD_NOT_FOUND, f'no method "{method[:100]}"'


def _check_version(call: Call, dialect: Dialect) -> None:
    version = call.headers.get("a2a-version", "")
    if version and not version.startswith(("1.", "0.3")) and version != "1":
        code = wire.UNSUPPORTED_OPERATION if dialect.legacy else wire.VERSION_NOT_SUPPORTED
        raise RpcError(code, f"A2A {version[:20]} is not spoken here: 1.0 and 0.3 are")


# -- methods -------------------------------------------------------------------------------------------------------


async def _send(exchange: Exchange) -> Response:
    asked = read_message(exchange.call.params)
    followed = await _accept(exchange, asked)
    if not asked.waits:
        return exchange.result(exchange.dialect.sent(await tasks.standing(exchange.parts, exchange.caller, followed), asked.history_length))
    return Streamed(_answer_pieces(exchange, followed, asked.history_length), media_type=JSON)


async def _stream(exchange: Exchange) -> Response:
    followed = await _accept(exchange, read_message(exchange.call.params))
    return Streamed(_event_pieces(exchange, followed))


async def _resubscribe(exchange: Exchange) -> Response:
    followed = await _task_of(exchange)
    if not followed.newest.is_active:
        raise RpcError(wire.UNSUPPORTED_OPERATION, "the task does nothing at the moment: there is nothing to follow")
    return Streamed(_event_pieces(exchange, followed))


async def _get(exchange: Exchange) -> Response:
    length = read_count(exchange.call.params, "historyLength")
    task = await tasks.standing(exchange.parts, exchange.caller, await _task_of(exchange))
    return exchange.result(exchange.dialect.task(task, length))


async def _cancel(exchange: Exchange) -> Response:
    followed = await _task_of(exchange)
    try:
        await cancel(exchange.parts, exchange.caller, followed.newest, "interrupt")
    except Conflict:
        raise RpcError(wire.TASK_NOT_CANCELABLE, "the task does nothing that could be cancelled") from None
    return Streamed(_cancel_pieces(exchange, followed), media_type=JSON)


async def _list(exchange: Exchange) -> Response:
    params = exchange.call.params
    size, length = read_count(params, "pageSize", most=_MOST) or _PAGE, read_count(params, "historyLength") or 0
    token = exchange.call.text("pageToken", wanted=False)
    if token and not (token.isascii() and token.isdigit() and len(token) < 7):
        raise RpcError(INVALID_PARAMS, "params.pageToken: not one of ours")
    offset, context = int(token or 0), exchange.call.text("contextId", wanted=False) or None
    kept = Tasks(exchange.parts.pool)
    found, total = await kept.list(exchange.caller, exchange.target.assistant_id, context=context, limit=size, offset=offset)
    standing = [await _standing(exchange, Followed(run, await kept.newest(exchange.caller, run))) for run in found]
    wanted = str(params.get("status") or "")
    shown = [shown for task in standing if (shown := exchange.dialect.task(task, length)) and wanted in {"", shown["status"]["state"]}]
    following = str(offset + size) if offset + size < total else ""
    return exchange.result({"tasks": shown, "nextPageToken": following, "pageSize": size, "totalSize": total})


async def _extended_card(exchange: Exchange) -> Response:
    agents = cast(Agents, exchange.request.app.state.agents)
    named = str(exchange.target.assistant_id)
    return exchange.result(await _card(exchange.request, exchange.parts, exchange.caller, agents, named))


async def _task_of(exchange: Exchange) -> Followed:
    return await tasks.find(exchange.parts, exchange.caller, exchange.target.assistant_id, exchange.call.text("id"))


async def _standing(exchange: Exchange, followed: Followed) -> Task:
    return await tasks.standing(exchange.parts, exchange.caller, followed)


async def _accept(exchange: Exchange, asked: wire.Asked) -> Followed:
    """The run of a message. Raises RpcError; what is wrong with the caller or the server has its own status code."""
    parts, caller, target, metadata = exchange.parts, exchange.caller, exchange.target, exchange.call.metadata
    try:
        if asked.task is None:
            return await tasks.begin(parts, caller, target, asked, metadata)
        followed = await tasks.find(parts, caller, target.assistant_id, asked.task)
        return await tasks.go_on(parts, caller, target, followed, asked, metadata)
    except ABOUT_THE_CALL as error:
        raise RpcError(INVALID_PARAMS, error.message) from error


# -- answers that take a while -------------------------------------------------------------------------------------


async def _answer_pieces(exchange: Exchange, followed: Followed, history_length: int | None) -> AsyncGenerator[bytes, None]:
    follower, silence = RunFollower(exchange.parts, followed.newest, end_only=True), Silence()
    async with aclosing(follower.batches()) as batches:
        async for _ in batches:
            if silence.too_long():
                yield b"\n"
    assert follower.ending is not None
    yield to_json(answered(exchange.call.id, exchange.dialect.sent(tasks.ended(followed, follower.ending), history_length)))


async def _cancel_pieces(exchange: Exchange, followed: Followed) -> AsyncGenerator[bytes, None]:
    follower, silence = RunFollower(exchange.parts, followed.newest, end_only=True), Silence()
    async with aclosing(follower.batches()) as batches:
        async for _ in batches:
            if silence.too_long():
                yield b"\n"
    assert follower.ending is not None
    yield to_json(answered(exchange.call.id, exchange.dialect.task(tasks.ended(followed, follower.ending))))


async def _event_pieces(exchange: Exchange, followed: Followed) -> AsyncGenerator[bytes, None]:
    """The task, then what happens to it, up to the state in which nothing happens any more."""
    dialect, call_id, silence = exchange.dialect, exchange.call.id, Silence()
    task = tasks.begun(followed)
    yield _event(call_id, dialect.sent(task))
    task = replace(task, state="working")
    yield _event(call_id, dialect.status_update(task))
    turn, pieces = Turn(exchange.parts, followed.newest, followed.given), _Pieces(dialect, task)
    async with aclosing(turn.said()) as saying:
        async for said in saying:
            events = [event for item in said for event in pieces.events(item)]
            if events:
                yield b"".join([_event(call_id, event) for event in events])
                silence.broken()
            elif silence.too_long():
                yield sse.HEARTBEAT
    yield b"".join([_event(call_id, event) for event in _last_events(dialect, tasks.ended(followed, turn.ending()))])


class _Pieces:
    """The tokens of an answer as pieces of an artifact; after a crash it begins anew."""

    def __init__(self, dialect: Dialect, task: Task) -> None:
        self._dialect = dialect
        self._task = task
        self._begun = False

    def events(self, said: object) -> list[dict[str, Any]]:
        if isinstance(said, Restart):
            self._begun = False
        if not isinstance(said, Token):
            return []
        event = self._dialect.artifact_update(self._task, said.text, append=self._begun, last=False)
        self._begun = True
        return [event]


def _last_events(dialect: Dialect, task: Task) -> list[dict[str, Any]]:
    """The whole answer in place of its pieces, since only it counts, and the last state."""
    whole = [] if task.answer is None else [dialect.artifact_update(task, task.answer, append=False, last=True)]
    return [*whole, dialect.status_update(task)]


def _event(call_id: CallId, result: Any) -> bytes:
    return b"data: %s\r\n\r\n" % to_json(answered(call_id, result))


@dataclass(frozen=True)
class Method:
    """What a method does, and what one must be allowed to do for it."""

    run: Callable[[Exchange], Awaitable[Response]]
    action: Action


_SEND, _STREAM = Method(_send, "create_run"), Method(_stream, "create_run")
_METHODS: Mapping[str, Method] = {
    "message/send": _SEND,
    "message/stream": _STREAM,
    "tasks/get": Method(_get, "read"),
    "tasks/cancel": Method(_cancel, "update"),
    "tasks/resubscribe": Method(_resubscribe, "read"),
    "agent/getAuthenticatedExtendedCard": Method(_extended_card, "read"),
    "SendMessage": _SEND,
    "SendStreamingMessage": _STREAM,
    "GetTask": Method(_get, "read"),
    "CancelTask": Method(_cancel, "update"),
    "ListTasks": Method(_list, "search"),
    "SubscribeToTask": Method(_resubscribe, "read"),
    "GetExtendedAgentCard": Method(_extended_card, "read"),
}
