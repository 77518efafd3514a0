"""Commands of the event streaming protocol, over HTTP and WebSocket alike: one function a method, errors as the protocol has them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, cast
from uuid import UUID

from pydantic import Field, ValidationError, model_validator
from starlette.requests import HTTPConnection, Request

from freehold.core import errors, sequence
from freehold.core.caller import Caller
from freehold.core.errors import FreeholdError, InvalidRequest, NotFound
from freehold.core.run import Run
from freehold.server import audit
from freehold.server.agent_tree import agent_tree
from freehold.server.auth import Action, Authentication
from freehold.server.errors import status_of
from freehold.server.launch import choose_assistant, launch
from freehold.server.parts import ServerParts
from freehold.server.wire.body import Body, JsonObject
from freehold.server.wire.runs import Config, Goto, RunOnThread
from freehold.server.wire.streams import Command, Namespace

log = logging.getLogger(__name__)

Answer = dict[str, Any]

_DONE = 200


class ProtocolError(Exception):
    """A command that cannot be done, with the protocol's own code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Asking:
    """A command's thread and who sent it."""

    parts: ServerParts
    connection: HTTPConnection
    thread_id: UUID

    async def permitted(self, action: Action, params: JsonObject) -> Caller:
        """Who asks; the project's rules see `params`, and may change them. Raises Unauthenticated, Forbidden."""
        authentication = cast(Authentication, self.connection.app.state.authentication)
        return await authentication.permitted(_AsRequest(self.connection, params), "threads", action)


@dataclass(frozen=True)
class Done:
    """What a command gives; `through` is the number on the thread up to which a client need not read for it."""

    result: JsonObject
    through: int = 0


class Response(Body):
    """An answer to one interrupt."""

    interrupt_id: Annotated[str, Field(min_length=1, max_length=200)]
    response: Any = None
    namespace: Namespace = Field(default_factory=list)


class Respond(Body):
    """`input.respond`: one answer, or `responses` for several, with a state update and where to go in the same step."""

    interrupt_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    response: Any = None
    namespace: Namespace = Field(default_factory=list)
    responses: Annotated[list[Response], Field(min_length=1, max_length=1000)] | None = None
    update: JsonObject | None = None
    goto: str | Goto | list[str | Goto] | None = None
    config: Config = Config()
    metadata: JsonObject = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_or_many(self) -> Respond:
        if (self.interrupt_id is None) == (self.responses is None):
            raise ValueError("give either interrupt_id and response, or responses")
        return self

    def answers(self) -> dict[str, Any]:
        """By interrupt."""
        if self.responses is None:
            return {str(self.interrupt_id): self.response}
        return {one.interrupt_id: one.response for one in self.responses}


class GetTree(Body):
    """`agent.getTree`."""

    run_id: UUID | None = None


async def answer(parts: ServerParts, connection: HTTPConnection, thread_id: UUID, command: Command) -> Answer:
    """`{"type": "success", "id", "result", "meta"}`, or `{"type": "error", "id", "error", "message"}`.

    Raises:
        Unauthenticated, StorageUnavailable, QuotaExceeded: as every request does.
    """
    try:
        said, status = await _answered(Asking(parts, connection, thread_id), command)
    except FreeholdError as error:
        audit.outcome(connection, status_of(error), {"thread_id": str(thread_id)})
        raise
    run_id = str(said["result"].get("run_id", "")) if status == _DONE else ""
    audit.outcome(connection, status, {"thread_id": str(thread_id), **({"run_id": run_id} if run_id else {})})
    return said


async def _answered(asking: Asking, command: Command) -> tuple[Answer, int]:
    """The answer, and the HTTP status of what it tells: the protocol has one for all."""
    method = METHODS.get(command.method)
    try:
        if method is None:
            raise ProtocolError("unknown_command", f"Unknown protocol command: {command.method}")
        done = await method(asking, command.params)
    except ProtocolError as error:
        return refusal(command.id, error.code, str(error)), 422
    except ValidationError as error:
        return refusal(command.id, "invalid_argument", _told(error)), 422
    except (errors.Unauthenticated, errors.StorageUnavailable, errors.QuotaExceeded):
        raise
    except FreeholdError as error:
        return refusal(command.id, _code(error), str(error)), status_of(error)
    return {"type": "success", "id": command.id, "result": done.result, "meta": {"applied_through_seq": done.through}}, _DONE


def refusal(command_id: int | None, code: str, message: str) -> Answer:
    """A command that failed, as the protocol tells it."""
    return {"type": "error", "id": command_id, "error": code, "message": message}


# -- methods -------------------------------------------------------------------------------------------------------


async def _run_start(asking: Asking, params: JsonObject) -> Done:
    """Start a run; a missing thread is made."""
    params = {"if_not_exists": "create", **params}
    caller = await asking.permitted("create_run", params)
    body = RunOnThread.model_validate(params)
    return _started(await _launch(asking, caller, body))


async def _input_respond(asking: Asking, params: JsonObject) -> Done:
    """Answer what a run asked: it goes on, with the assistant of its thread, whatever the client names."""
    params = {key: value for key, value in params.items() if key != "assistant_id"}
    caller = await asking.permitted("create_run", params)
    body = Respond.model_validate(params)
    thread = await asking.parts.threads.get(caller, asking.thread_id)
    asked = {interrupt.get("id") for interrupts in thread.interrupts.values() for interrupt in interrupts}
    for interrupt_id in body.answers():
        if interrupt_id not in asked or thread.status == "busy":
            raise ProtocolError("no_such_interrupt", f"Unknown or already-consumed interrupt: {interrupt_id}")
    command: JsonObject = {"resume": body.answers()}
    command.update({name: value for name, value in (("update", body.update), ("goto", body.goto)) if value is not None})
    again = {
        "assistant_id": str(thread.metadata.get("assistant_id") or thread.metadata.get("graph_id") or ""),
        "command": command,
        "config": body.config.plain(),
        "metadata": body.metadata,
        "multitask_strategy": "reject",  # two tabs that answer at once: one of them was first
    }
    authentication = cast(Authentication, asking.connection.app.state.authentication)
    caller = await authentication.using(caller, again["assistant_id"])
    try:
        run = await _launch(asking, caller, RunOnThread.model_validate(again))
    except errors.Conflict as error:
        raise ProtocolError("no_such_interrupt", "the interrupts of this thread are being answered already") from error
    return _started(run)


async def _get_tree(asking: Asking, params: JsonObject) -> Done:
    """The run's agents, as a tree."""
    caller = await asking.permitted("read", params)
    wanted = GetTree.model_validate(params).run_id
    await asking.parts.threads.get(caller, asking.thread_id)
    if wanted:
        run = await asking.parts.runs.get(caller, asking.thread_id, wanted)
    else:
        newest = await asking.parts.runs.list(caller, asking.thread_id, limit=1)
        if not newest:
            raise ProtocolError("no_such_run", "There is no run on this thread.")
        run = newest[0]
    return Done({"tree": await agent_tree(asking.parts, run)})


METHODS: Mapping[str, Callable[[Asking, JsonObject], Awaitable[Done]]] = {
    "run.start": _run_start,
    "input.respond": _input_respond,
    "agent.getTree": _get_tree,
}


#: Of these, a connection keeps what they begin.
SOCKET_METHODS = frozenset({"subscription.subscribe", "subscription.unsubscribe", "subscription.reconnect"})


async def _launch(asking: Asking, caller: Caller, body: RunOnThread) -> Run:
    chosen = await choose_assistant(asking.parts, caller, body.assistant_id)
    target = replace(chosen, thread_id=asking.thread_id, create_thread=body.if_not_exists == "create")
    request = replace(body.request(), event_streaming=True, stream_subgraphs=True)
    return await launch(asking.parts, caller, target, request, strategy=body.multitask_strategy, after_seconds=body.after_seconds)


def _started(run: Run) -> Done:
    return Done({"run_id": str(run.run_id)}, sequence.microseconds(run.created_at))


def _code(error: FreeholdError) -> str:
    if isinstance(error, errors.Forbidden | errors.QuotaExceeded):
        return "permission_denied"
    if isinstance(error, errors.NotSupported):
        return "not_supported"
    if isinstance(error, NotFound):
        return "no_such_run" if "run " in error.message else "invalid_argument"
    if isinstance(error, InvalidRequest | errors.Conflict):
        return "invalid_argument"
    log.warning("a command failed: %s", error.message, extra={"action": "command_failed", "code": error.code})
    return "unknown_error"


def _told(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}".removeprefix(": ") for item in found[:3])


class _AsRequest(Request):
    """A command as a request of its own whose body are its parameters: what a project's rules look at."""

    def __init__(self, connection: HTTPConnection, params: JsonObject) -> None:
        super().__init__({**connection.scope, "type": "http", "method": "POST"})
        self._params = params

    async def json(self) -> Any:
        return self._params
