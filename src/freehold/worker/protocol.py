"""A run as the event streaming protocol tells it: from LangGraph's own protocol stream to numbered events ready for the wire.

The graph runs with every mode at once, through `astream_events(version="v3")`, so that a graph's own transformers take part.
What is written to the run's log is the whole event as clients read it; its name there says channel and namespace, so that a
server can choose without parsing: `event:custom:counts|inner:1b2c…`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

from langchain_core._api import suppress_langchain_beta_warning
from langchain_core.language_models._compat_bridge import message_to_events
from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig
from langgraph.stream import StreamTransformer
from langgraph.stream._types import ProtocolEvent

from freehold.core.encode import to_json
from freehold.core.event import PROTOCOL
from freehold.core.lifecycle import root_end
from freehold.worker.stream import INTERRUPT, AnyGraph, Named, task_on_wire, values_on_wire

#: What graphs of such runs stream, besides what their transformers ask for.
MODES = ("values", "updates", "messages", "custom", "tasks", "checkpoints", "tools")

#: Of LangGraph's own, what happens to a subgraph of a run that is given back goes on elsewhere.
_DRAINED = "drained"

Namespace = tuple[str, ...]


class Protocol:
    """Makes the protocol events of one attempt.

    Args:
        base: what its numbers are counted from, see `core.sequence`.
        number: gives the number within the attempt that the next event will have.
    """

    def __init__(self, graph_id: str, base: int, number: Callable[[], int]) -> None:
        self._graph_id = graph_id
        self._base = base
        self._number = number
        #: Interrupt -> the innermost namespace that told of it.
        self._asked_in: dict[str, Namespace] = {}
        self._tasks: list[ProtocolEvent] = []
        #: Namespace of a subgraph -> its name, which is told at its start only.
        self._names: dict[Namespace, str] = {}
        #: Model call -> id of the message it is writing.
        self._message_ids: dict[str, str] = {}
        self.values: Any = None

    @asynccontextmanager
    async def stream(
        self, graph: AnyGraph, graph_input: Any, config: RunnableConfig, **options: Any
    ) -> AsyncIterator[AsyncIterator[ProtocolEvent]]:
        """What the graph tells; leaving the context stops it."""
        with suppress_langchain_beta_warning():
            run = await graph.astream_events(graph_input, config, version="v3", transformers=[self._every_mode], **options)
        async with run:
            yield self._with_tasks(run)

    async def _with_tasks(self, run: AsyncIterable[ProtocolEvent]) -> AsyncIterator[ProtocolEvent]:
        async for event in run:
            for task in self._taken():
                yield task
            yield event
        for task in self._taken():
            yield task

    def _taken(self) -> list[ProtocolEvent]:
        taken, self._tasks = self._tasks, []
        return taken

    def _every_mode(self, scope: Namespace) -> StreamTransformer:
        return _EveryMode(scope, self._tasks_of_root if scope == () else None)

    def _tasks_of_root(self, event: ProtocolEvent) -> None:
        self._tasks.append(event)

    # -- events --------------------------------------------------------------------------------------------------

    def started(self, attempt: int) -> Named:
        """The root began; again with every attempt, after which pieces of an earlier one are void."""
        return self._event("lifecycle", (), {"event": "running", "graph_name": self._graph_id, "attempt": attempt})

    def events(self, event: ProtocolEvent) -> Iterator[Named]:
        """What clients get for one event of the graph's. Take each before you ask for the next: it is numbered as it is made."""
        method, params = str(event["method"]), event["params"]
        namespace, data = tuple(params["namespace"]), params["data"]
        stamp = params["timestamp"]
        if method == "messages":
            yield from self._message(namespace, *data, stamp=stamp)
        elif method == "lifecycle":
            if data.get("event") != _DRAINED:
                within = tuple(data.get("namespace", ()))
                name = self._names.setdefault(within, data.get("graph_name", ""))
                yield self._event(method, within, {**data, "graph_name": name}, stamp)
        elif method == "custom":
            yield self._event(method, namespace, {"payload": data}, stamp)
        elif method.startswith("custom:"):
            yield self._event(method, namespace, {"name": method.partition(":")[2], "payload": data}, stamp)
        elif method in _SHOWN:
            self._keep(method, namespace, data, params.get("interrupts", ()))
            yield self._event(method, namespace, _SHOWN[method](data), stamp, delta=method == "tools")

    def ended(self, status: str, waiting: bool, interrupts: list[dict[str, Any]], error: Mapping[str, Any] | None) -> Iterator[Named]:
        """The last events: what is asked of people, then how the root ended.

        Args:
            status: of the run.
            waiting: whether its thread waits for somebody.
            interrupts: `[{"value", "id"}]`.
        """
        for interrupt in interrupts:
            told = {"interrupt_id": interrupt["id"], "payload": interrupt["value"], "value": interrupt["value"]}
            yield self._event("input.requested", self._asked_in.get(interrupt["id"], ()), told)
        yield self._event("lifecycle", (), root_end(self._graph_id, status, error, waiting=waiting))

    def _message(self, namespace: Namespace, payload: Any, metadata: Mapping[str, Any], *, stamp: int) -> Iterator[Named]:
        if isinstance(payload, BaseMessage):
            told = list(message_to_events(payload, message_id=payload.id))
            key = payload.id or ""
        else:
            told = [payload]
            key = str(metadata.get("run_id", ""))
        for event in told:
            yield self._event("messages", namespace, self._message_event(dict(event), key, metadata), stamp, delta=True)

    def _message_event(self, event: dict[str, Any], key: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Pieces of messages that come side by side say whose they are; the first one also which node speaks."""
        if event["event"] == "message-start":
            identifier = event.pop("message_id", None) or event.get("id") or key
            self._message_ids[key] = event["id"] = identifier
            node = {name: metadata[name] for name in ("langgraph_node", "langgraph_step") if name in metadata}
            return {**event, "metadata": {**(event.get("metadata") or {}), **node}}
        last = event["event"] in {"message-finish", "error"}
        identifier = (self._message_ids.pop if last else self._message_ids.get)(key, key)
        return {**event, "message_id": identifier}

    def _keep(self, method: str, namespace: Namespace, data: Any, interrupts: Any) -> None:
        if method == "values" and not namespace:
            self.values = {**data, INTERRUPT: interrupts} if interrupts and isinstance(data, dict) else data
        elif method == "tasks":
            for interrupt in data.get("interrupts") or ():
                known = self._asked_in.get(interrupt["id"], ())
                self._asked_in[interrupt["id"]] = max(known, namespace, key=len)

    def _event(self, method: str, namespace: Namespace, data: Any, stamp: int | None = None, *, delta: bool = False) -> Named:
        number = self._number()
        name = "|".join((PROTOCOL + method, *namespace))
        head = b'{"type":"event","event_id":"%d-%d","seq":%d,"method":%s,"params":' % (
            self._base,
            number,
            self._base + number,
            to_json(method.partition(":")[0] if method.startswith("custom") else method),
        )
        params = {"namespace": list(namespace), "timestamp": stamp or time.time_ns() // 1_000_000, "data": data}
        return Named(name, head + to_json(params) + b"}", delta=delta)


class _EveryMode(StreamTransformer):
    """Asks for every mode, and catches the tasks that LangGraph's own transformers keep from the stream."""

    required_stream_modes = MODES

    def __init__(self, scope: Namespace, on_task: Callable[[ProtocolEvent], None] | None) -> None:
        super().__init__(scope)
        self._on_task = on_task

    def init(self) -> dict[str, Any]:
        return {}

    def process(self, event: ProtocolEvent) -> bool:
        if self._on_task and event["method"] == "tasks":
            self._on_task(event)
        return True


def _unchanged(data: Any) -> Any:
    return data


def _checkpoint(data: dict[str, Any]) -> dict[str, Any]:
    """What to fork from, without the values, which the `values` beside it has."""
    metadata = data.get("metadata") or {}
    return {
        "id": _checkpoint_id(data.get("config")),
        "parent_id": _checkpoint_id(data.get("parent_config")),
        "step": metadata.get("step"),
        "source": metadata.get("source"),
        "next": data.get("next"),
    }


def _checkpoint_id(config: Any) -> str | None:
    return cast(dict[str, Any], (config or {}).get("configurable") or {}).get("checkpoint_id")


_SHOWN: dict[str, Callable[[Any], Any]] = {
    "values": _unchanged,
    "updates": values_on_wire,
    "tasks": task_on_wire,
    "tools": _unchanged,
    "checkpoints": _checkpoint,
}
