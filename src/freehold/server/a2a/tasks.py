"""Where A2A tasks stand, read from runs and threads; and the runs that a message starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from freehold.core.caller import Caller
from freehold.core.encode import to_json
from freehold.core.errors import FreeholdError, NotFound
from freehold.core.ids import new_id, plain_thread_id
from freehold.core.run import Run, RunRequest
from freehold.server.a2a.wire import ENDED, TASK_NOT_FOUND, UNSUPPORTED_OPERATION, Asked, Said, State, Task
from freehold.server.conversation import TURN_MODES, read_answer, text_of, with_ids
from freehold.server.follow import Ending
from freehold.server.json_rpc import INVALID_PARAMS, RpcError
from freehold.server.launch import launch
from freehold.server.parts import ServerParts
from freehold.storage.runs import Target
from freehold.storage.tasks import CONTEXT, TASK, Tasks

#: In a run's metadata: what the client called the message that started it.
_MESSAGE = "a2a_message"

_HUMAN = frozenset({"human", "user"})


@dataclass(frozen=True)
class Followed:
    """A task by its runs: the one it began with, which names it, and the one that went on with it last."""

    first: Run
    newest: Run

    @property
    def task_id(self) -> UUID:
        return self.first.run_id

    @property
    def context(self) -> str:
        return str(self.first.metadata[CONTEXT])

    @property
    def given(self) -> tuple[dict[str, Any], ...]:
        """The messages the newest run was given."""
        found = self.newest.request.input
        messages = found.get("messages") if isinstance(found, Mapping) else None
        return tuple(message for message in messages or () if isinstance(message, dict))


async def find(parts: ServerParts, caller: Caller, assistant_id: UUID, named: str) -> Followed:
    """A task of the caller with this assistant. Raises RpcError where there is none."""
    tasks = Tasks(parts.pool)
    try:
        first = await tasks.first(caller, UUID(named))
    except (ValueError, NotFound):
        raise RpcError(TASK_NOT_FOUND, f'no task "{named[:100]}"') from None
    if first.assistant_id != assistant_id:
        raise RpcError(TASK_NOT_FOUND, f'no task "{named[:100]}"')
    return Followed(first, await tasks.newest(caller, first))


async def standing(parts: ServerParts, caller: Caller, followed: Followed) -> Task:
    """The task as it is now."""
    run = followed.newest
    if run.is_active:
        return _task(followed, "working" if run.status == "running" else "submitted")
    thread = await parts.threads.get(caller, run.thread_id)
    interrupts = tuple(item for items in thread.interrupts.values() for item in items)
    last_on_thread = await parts.runs.list(caller, run.thread_id, limit=1)
    is_last = bool(last_on_thread) and last_on_thread[0].run_id == run.run_id
    return ended(followed, Ending(run.status, _up_to_next(thread.values, followed), interrupts if is_last else (), run.error))


def ended(followed: Followed, ending: Ending) -> Task:
    """The task after its newest run has ended."""
    if ending.status == "interrupted":
        return _task(followed, "canceled")
    given = frozenset(str(message.get("id")) for message in followed.given)
    try:
        answer = read_answer(ending, given)
    except FreeholdError as error:
        return replace(_task(followed, "failed"), said=Said("agent", (error.message,), message_id=f"{followed.newest.run_id}-error"))
    if ending.interrupts:
        return replace(_task(followed, "input-required"), said=_question(followed, ending.interrupts))
    said = Said("agent", (answer.text,), message_id=f"{followed.newest.run_id}-answer")
    done = _task(followed, "completed")
    return replace(done, answer=answer.text, history=(*done.history, said))


def begun(followed: Followed) -> Task:
    """The task before anything happened to its newest run."""
    return _task(followed, "submitted")


def _task(followed: Followed, state: State) -> Task:
    named = str(followed.newest.metadata.get(_MESSAGE) or f"{followed.newest.run_id}-message")
    given = tuple(Said("user", (text_of(message),), message_id=named) for message in followed.given)
    at = datetime.now(UTC) if followed.newest.is_active else followed.newest.updated_at
    return Task(followed.task_id, followed.context, state, at, history=given)


def _question(followed: Followed, interrupts: Sequence[Mapping[str, Any]]) -> Said:
    """What the agent asks: as text for people, and by id for programs."""
    texts = [value if isinstance(value, str) else to_json(value).decode() for value in (item.get("value") for item in interrupts)]
    shown = [{"id": item.get("id"), "value": item.get("value")} for item in interrupts]
    return Said("agent", tuple(texts), ({"interrupts": shown},), f"{followed.newest.run_id}-question")


def _up_to_next(values: Any, followed: Followed) -> Any:
    """The thread's values as far as this task's run left them: what later turns of the conversation added is left out."""
    messages = values.get("messages") if isinstance(values, Mapping) else None
    given = {message.get("id") for message in followed.given}
    if not isinstance(messages, list) or not given:
        return values
    places = [place for place, message in enumerate(messages) if isinstance(message, dict) and message.get("id") in given]
    if not places:
        return values
    later = (place for place in range(places[-1] + 1, len(messages)) if _is_human(messages[place]))
    return {**values, "messages": messages[: next(later, len(messages))]}


def _is_human(message: object) -> bool:
    return isinstance(message, dict) and (message.get("type") in _HUMAN or message.get("role") in _HUMAN)


async def begin(parts: ServerParts, caller: Caller, target: Target, asked: Asked, metadata: Mapping[str, Any]) -> Followed:
    """A message that begins a task. Raises what accepting a run raises."""
    thread_id, context = _thread(caller, asked.context)
    given = with_ids([{"role": "user", "content": asked.said.content()}])
    request = RunRequest(input={"messages": given}, stream_mode=TURN_MODES, metadata={**_noted(asked), **metadata, CONTEXT: context})
    run = await launch(parts, caller, replace(target, thread_id=thread_id, create_thread=True), request)
    return Followed(run, run)


async def go_on(
    parts: ServerParts, caller: Caller, target: Target, followed: Followed, asked: Asked, metadata: Mapping[str, Any]
) -> Followed:
    """A message that answers what a task asks. Raises RpcError where it asks nothing."""
    if asked.context is not None and asked.context != followed.context:
        raise RpcError(INVALID_PARAMS, "contextId: the task belongs to another context")
    task = await standing(parts, caller, followed)
    if task.state != "input-required":
        ending = "has ended" if task.state in ENDED else "is at work"
        raise RpcError(UNSUPPORTED_OPERATION, f"the task {ending}: it takes no message", {"state": task.state})
    thread = await parts.threads.get(caller, followed.first.thread_id)
    ids = [item["id"] for items in thread.interrupts.values() for item in items]
    more = {**_noted(asked), **metadata, CONTEXT: followed.context, TASK: str(followed.task_id)}
    request = RunRequest(command={"resume": _answer(asked.said, ids)}, stream_mode=TURN_MODES, metadata=more)
    return Followed(followed.first, await launch(parts, caller, replace(target, thread_id=followed.first.thread_id), request))


def _noted(asked: Asked) -> dict[str, Any]:
    """What the client wanted to be kept with its message."""
    return {_MESSAGE: asked.said.message_id, **({"a2a_metadata": asked.metadata} if asked.metadata else {})}


def _answer(said: Said, ids: Sequence[str]) -> Any:
    """What a message answers: its data as they are, else its text. Several questions are answered by their ids."""
    data = said.data[0] if len(said.data) == 1 and not said.texts else None
    if len(ids) > 1:
        if not isinstance(data, Mapping) or not set(data) <= set(ids):
            raise RpcError(
                INVALID_PARAMS, "the task asks several things: answer with one data part, {id: answer}", {"interrupts": list(ids)}
            )
        return dict(data)
    return {ids[0]: said.content() if data is None else data} if ids else said.content()


def _thread(caller: Caller, context: str | None) -> tuple[UUID, str]:
    """Thread and name of a context: a thread's id is itself, any other text names one of the caller's, nothing begins a new one."""
    if context is None:
        thread_id = new_id()
        return thread_id, str(thread_id)
    try:
        return UUID(context), context
    except ValueError:
        return plain_thread_id(caller.organisation, caller.owner, context), context
