"""A2A's two dialects: version 0.3 with `kind` in every object, version 1.0 as protocol buffers are written in JSON.

The method's name tells which one a client speaks: `message/send` is 0.3, `SendMessage` is 1.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from freehold.core.encode import to_json
from freehold.server.json_rpc import INVALID_PARAMS, RpcError

TASK_NOT_FOUND = -32001
TASK_NOT_CANCELABLE = -32002
PUSH_NOT_SUPPORTED = -32003
UNSUPPORTED_OPERATION = -32004
CONTENT_TYPE_NOT_SUPPORTED = -32005
VERSION_NOT_SUPPORTED = -32009

State = Literal["submitted", "working", "input-required", "completed", "failed", "canceled"]

ENDED: frozenset[State] = frozenset({"completed", "failed", "canceled"})

#: Parts, and characters of all texts, of one message at most.
MAX_PARTS = 64


@dataclass(frozen=True)
class Said:
    """A message: texts and data, of the user or the agent."""

    role: Literal["user", "agent"]
    texts: tuple[str, ...]
    data: tuple[Any, ...] = ()
    message_id: str = ""

    def content(self) -> str:
        """All of it as one text, for an agent that reads text."""
        return "\n\n".join([*self.texts, *(to_json(value).decode() for value in self.data)])


@dataclass(frozen=True)
class Asked:
    """A message that was sent, with where it belongs and how it is to be answered."""

    said: Said
    context: str | None
    task: str | None
    waits: bool
    history_length: int | None
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A task as it stands. `said` is what the agent asks, or why it failed; `answer` what it came to."""

    task_id: UUID
    context: str
    state: State
    at: datetime
    said: Said | None = None
    answer: str | None = None
    history: tuple[Said, ...] = ()


class Dialect:
    """How tasks and their events are written down."""

    def __init__(self, *, legacy: bool) -> None:
        self.legacy = legacy

    def task(self, task: Task, history_length: int | None = None) -> dict[str, Any]:
        history = task.history if history_length is None else task.history[len(task.history) - history_length :] if history_length else ()
        shown: dict[str, Any] = {"id": str(task.task_id), "contextId": task.context, "status": self._status(task)}
        if task.answer is not None:
            shown["artifacts"] = [self._artifact(task.task_id, task.answer)]
        if history:
            shown["history"] = [self._message(said, task) for said in history]
        return {"kind": "task", **shown} if self.legacy else shown

    def sent(self, task: Task, history_length: int | None = None) -> dict[str, Any]:
        """The answer to a message, and the first event of a stream."""
        shown = self.task(task, history_length)
        return shown if self.legacy else {"task": shown}

    def status_update(self, task: Task) -> dict[str, Any]:
        """An event: the task's state has changed. A state in which nothing happens any more ends the stream."""
        update = {"taskId": str(task.task_id), "contextId": task.context, "status": self._status(task)}
        if self.legacy:
            return {"kind": "status-update", **update, "final": task.state in ENDED or task.state == "input-required"}
        return {"statusUpdate": update}

    def artifact_update(self, task: Task, text: str, *, append: bool, last: bool) -> dict[str, Any]:
        """An event: a piece of the answer, or all of it in place of what came before."""
        artifact = self._artifact(task.task_id, text)
        update = {"taskId": str(task.task_id), "contextId": task.context, "artifact": artifact, "append": append, "lastChunk": last}
        return {"kind": "artifact-update", **update} if self.legacy else {"artifactUpdate": update}

    def _status(self, task: Task) -> dict[str, Any]:
        state = task.state if self.legacy else f"TASK_STATE_{task.state.upper().replace('-', '_')}"
        status: dict[str, Any] = {"state": state, "timestamp": task.at.astimezone(UTC).isoformat().replace("+00:00", "Z")}
        if task.said:
            status["message"] = self._message(task.said, task)
        return status

    def _message(self, said: Said, task: Task) -> dict[str, Any]:
        role = said.role if self.legacy else f"ROLE_{said.role.upper()}"
        named = {"messageId": said.message_id, "taskId": str(task.task_id), "contextId": task.context}
        shown = {"role": role, "parts": self._parts(said.texts, said.data), **named}
        return {"kind": "message", **shown} if self.legacy else shown

    def _artifact(self, task_id: UUID, text: str) -> dict[str, Any]:
        return {"artifactId": str(task_id), "name": "answer", "parts": self._parts([text], ())}

    def _parts(self, texts: Sequence[str], data: Sequence[Any]) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = [{"text": text} for text in texts]
        parts += [{"data": value} for value in data]
        return [{"kind": "text" if "text" in part else "data", **part} for part in parts] if self.legacy else parts


def read_message(params: Mapping[str, Any]) -> Asked:
    """What was sent, in either dialect. Raises RpcError."""
    message, configuration = params.get("message"), params.get("configuration") or {}
    if not isinstance(message, dict) or not isinstance(configuration, dict):
        raise RpcError(INVALID_PARAMS, "params.message: expected an object")
    if configuration.get("pushNotificationConfig") or configuration.get("taskPushNotificationConfig"):
        raise RpcError(PUSH_NOT_SUPPORTED, "push notifications are not supported; use a webhook of a run, or stream")
    if message.get("role") not in {"user", "ROLE_USER"}:
        raise RpcError(INVALID_PARAMS, "params.message.role: expected the user's")
    metadata = params.get("metadata")
    return Asked(
        Said("user", *_read_parts(message.get("parts")), message_id=_text(message, "messageId") or ""),
        _text(message, "contextId"),
        _text(message, "taskId"),
        waits=configuration.get("blocking", True) is not False and configuration.get("returnImmediately") is not True,
        history_length=read_count(configuration, "historyLength"),
        metadata=metadata if isinstance(metadata, dict) else {},
    )


def read_count(given: Mapping[str, Any], name: str, *, most: int = 1000) -> int | None:
    """A number of things, None where it is not given. Raises RpcError."""
    value = given.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise RpcError(INVALID_PARAMS, f"{name}: expected a number from 0 to {most}")
    return value


def _text(given: Mapping[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is not None and (not isinstance(value, str) or len(value) > 512):
        raise RpcError(INVALID_PARAMS, f"params.message.{name}: expected a text of up to 512 characters")
    return value or None


def _read_parts(parts: object) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    if not isinstance(parts, list) or not parts or len(parts) > MAX_PARTS:
        raise RpcError(INVALID_PARAMS, f"params.message.parts: expected 1 to {MAX_PARTS} parts")
    texts, data = [], []
    for part in parts:
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif isinstance(part, dict) and part.get("data") is not None:
            data.append(part["data"])
        elif isinstance(part, dict) and ({"file", "url", "raw"} & set(part)):
            raise RpcError(CONTENT_TYPE_NOT_SUPPORTED, "files are not supported: send texts and data")
        else:
            raise RpcError(INVALID_PARAMS, "params.message.parts: expected parts with text or data")
    return tuple(texts), tuple(data)
