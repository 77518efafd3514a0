"""From what a graph streams to the events LangGraph clients read: names, namespaces and JSON, one function a mode."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

from langchain_core.messages import BaseMessage, BaseMessageChunk, message_chunk_to_message
from langchain_core.runnables import RunnableConfig
from langgraph.pregel import Pregel
from langgraph.stream.transformers import LifecyclePayload, LifecycleTransformer

from freehold.core.encode import to_json
from freehold.core.run import checkpoint_address, told_config

INTERRUPT = "__interrupt__"

#: Mode a client asks for -> mode the graph is streamed with.
GRAPH_MODES: dict[str, str] = {
    "values": "values",
    "updates": "updates",
    "messages": "messages",
    "messages-tuple": "messages",
    "custom": "custom",
    "debug": "debug",
    "tasks": "tasks",
    "checkpoints": "checkpoints",
    "tools": "tools",
    "lifecycle": "tasks",
}

#: Not a mode of graphs: what LangChain calls `astream_events`, which carries the other modes within.
EVENTS = "events"

AnyGraph = Pregel[Any, Any, Any, Any]


@dataclass(frozen=True)
class Named:
    """An event before it has an id; `delta` marks token pieces, which may wait for a batch."""

    name: str
    data: bytes
    delta: bool = False


class Translator:
    """Turns the parts of one run's stream into events; holds the messages being accumulated for mode `messages`.

    Args:
        modes: what the client asked for.
        subgraphs: whether it wants what subgraphs stream, too.
    """

    def __init__(self, modes: tuple[str, ...], *, subgraphs: bool = True) -> None:
        self._modes = frozenset(modes)
        self._wants_subgraphs = subgraphs
        self._messages: dict[str, BaseMessage] = {}
        self._tools: dict[str, str] = {}
        self._lifecycle = Lifecycle() if "lifecycle" in self._modes else None

    @property
    def graph_modes(self) -> list[str]:
        """Modes to stream the graph with; `values` always, because the last one is the run's result."""
        return sorted({GRAPH_MODES[mode] for mode in self._modes if mode != EVENTS} | {"values"})

    @property
    def subgraphs(self) -> bool:
        """Whether to stream the graph with its subgraphs; when they begin and end is seen in what they stream."""
        return self._wants_subgraphs or self._lifecycle is not None

    def parts(self, graph: AnyGraph, graph_input: Any, config: RunnableConfig, **options: Any) -> AsyncIterator[Any]:
        """What the graph streams, as `(namespace, mode, part)`, or `(mode, part)` without subgraphs; close it."""
        options.update(stream_mode=cast(Any, self.graph_modes), subgraphs=self.subgraphs)
        if EVENTS in self._modes:
            return _with_events(graph, graph_input, config, options)
        return graph.astream(graph_input, config, **options)

    def events(self, namespace: tuple[str, ...], mode: str, part: Any) -> Iterator[Named]:
        """Events for one part of the graph's stream."""
        if self._lifecycle and mode == "tasks":
            for change in self._lifecycle.task(namespace, part):
                yield Named("lifecycle", to_json(change))
        if namespace and not self._wants_subgraphs:
            return
        suffix = "|" + "|".join(namespace) if namespace else ""
        if mode == "messages":
            yield from self._message(part, suffix)
        elif mode == "tools":
            yield Named(mode + suffix, to_json(self._tool(part)))
        elif mode in self._modes:
            yield Named(mode + suffix, to_json(_WIRE.get(mode, _unchanged)(part)))

    def last_events(self, error: BaseException | None = None) -> Iterator[Named]:
        """Events once nothing more is streamed: subgraphs that were cut off have an end, too."""
        for change in self._lifecycle.end(error) if self._lifecycle else ():
            yield Named("lifecycle", to_json(change))

    def _tool(self, part: dict[str, Any]) -> dict[str, Any]:
        """`{"event": "on_tool_start", "toolCallId", "name", "input"}`, then on_tool_event (data), on_tool_end (output) or on_tool_error."""
        call_id, kind = part["tool_call_id"], part["event"]
        if kind == "tool-started":
            self._tools[call_id] = part["tool_name"]
        last = kind in {"tool-finished", "tool-error"}
        name = (self._tools.pop if last else self._tools.get)(call_id, "")
        event, given, shown = _TOOL_EVENTS[kind]
        return {"event": event, "toolCallId": call_id, "name": name, shown: part.get(given)}

    def _message(self, part: tuple[BaseMessage, dict[str, Any]], suffix: str) -> Iterator[Named]:
        message, metadata = part
        if "messages-tuple" in self._modes:
            yield Named("messages" + suffix, to_json([message, metadata]), delta=isinstance(message, BaseMessageChunk))
        if "messages" in self._modes:
            yield from self._accumulate(message, metadata, suffix)

    def _accumulate(self, message: BaseMessage, metadata: dict[str, Any], suffix: str) -> Iterator[Named]:
        key = message.id or ""
        if key not in self._messages:
            self._messages[key] = message
            yield Named("messages/metadata" + suffix, to_json({key: {"metadata": metadata}}))
        elif isinstance(message, BaseMessageChunk):
            self._messages[key] = self._messages[key] + message  # type: ignore[assignment]
        else:
            self._messages[key] = message
        whole = self._messages[key]
        if isinstance(message, BaseMessageChunk):
            shown = message_chunk_to_message(whole) if isinstance(whole, BaseMessageChunk) else whole
            yield Named("messages/partial" + suffix, to_json([shown]), delta=True)
        else:
            yield Named("messages/complete" + suffix, to_json([whole]))


class Lifecycle:
    """When subgraphs begin and end, read from the tasks a graph streams.

    A change is `{"event": "started", "namespace", "graph_name", "trigger_call_id", "cause"}`, `cause` being the tool call that started an
    agent; then `{"event": "completed" | "failed" | "interrupted", "namespace", "error"}`.
    """

    def __init__(self) -> None:
        self._changes: list[LifecyclePayload] = []
        self._transformer = LifecycleTransformer(())
        self._transformer.init()["lifecycle"]._wire(self._changes.append)

    def task(self, namespace: tuple[str, ...], part: Any) -> list[LifecyclePayload]:
        """What a task that begins or ends says of subgraphs."""
        self._transformer.process({"type": "event", "method": "tasks", "params": {"namespace": [*namespace], "timestamp": 0, "data": part}})
        return self._taken()

    def end(self, error: BaseException | None) -> list[LifecyclePayload]:
        """Ends of those that are still open."""
        if error is None:
            self._transformer.finalize()
        else:
            self._transformer.fail(error)
        return self._taken()

    def _taken(self) -> list[LifecyclePayload]:
        taken = self._changes[:]
        self._changes.clear()
        return taken


async def _with_events(graph: AnyGraph, graph_input: Any, config: RunnableConfig, options: dict[str, Any]) -> AsyncIterator[Any]:
    """`astream_events`: what the root streams is passed on as what it is, all else as a part of mode `events`."""
    named = cast(RunnableConfig, {"run_name": config.get("configurable", {}).get("graph_id"), **config})  # else it is "LangGraph"
    events = cast(Any, graph.astream_events(graph_input, named, version="v2", **options))
    root = str(config.get("run_id"))
    async with aclosing(events):
        async for event in events:
            if event["run_id"] == root and event["event"] == "on_chain_stream":
                yield event["data"]["chunk"]
            else:
                yield ((), EVENTS, event) if options["subgraphs"] else (EVENTS, event)


#: Kind of event of a graph's tools -> name on the wire, where its content is, and under what it is shown.
_TOOL_EVENTS = {
    "tool-started": ("on_tool_start", "input", "input"),
    "tool-output-delta": ("on_tool_event", "delta", "data"),
    "tool-finished": ("on_tool_end", "output", "output"),
    "tool-error": ("on_tool_error", "message", "error"),
}


def interrupts_on_wire(interrupts: Any) -> list[dict[str, Any]]:
    """`Interrupt` values as clients know them: `[{"value": …, "id": …}]`, with `response_schema` where the graph declared one."""
    return [_interrupt(item.value, item.id, getattr(item, "response_schema", None)) for item in interrupts or ()]


def _interrupt(value: Any, interrupt_id: str, schema: Any) -> dict[str, Any]:
    return {"value": value, "id": interrupt_id, **({"response_schema": schema} if isinstance(schema, dict) else {})}


def values_on_wire(part: Any) -> Any:
    """State values with their interrupts, if any, in the clients' form."""
    if isinstance(part, dict) and INTERRUPT in part:
        return {**part, INTERRUPT: interrupts_on_wire(part[INTERRUPT])}
    return part


def task_on_wire(part: Any) -> Any:
    """The same for a task that has ended."""
    if isinstance(part, dict) and part.get("interrupts"):
        return {**part, "interrupts": [_interrupt(item["value"], item["id"], item.get("response_schema")) for item in part["interrupts"]]}
    return part


def debug_on_wire(part: Any) -> Any:
    """What mode `debug` tells: a checkpoint with the address clients send back, those of its subgraphs included; tasks as in `tasks`."""
    if part.get("type") != "checkpoint":
        return {**part, "payload": task_on_wire(part["payload"])}
    told = part["payload"]
    parent = told.get("parent_config")
    addresses = {"checkpoint": checkpoint_address(told["config"]), "parent_checkpoint": checkpoint_address(parent) if parent else None}
    configs = {"config": told_config(told["config"]), "parent_config": told_config(parent) if parent else parent}
    return {**part, "payload": {**told, **configs, "tasks": [_debug_task(task) for task in told["tasks"]], **addresses}}


def _debug_task(task: Mapping[str, Any]) -> dict[str, Any]:
    state = task.get("state")
    if not isinstance(state, Mapping) or "configurable" not in state:
        return dict(task)
    return {**{key: value for key, value in task.items() if key != "state"}, "checkpoint": checkpoint_address(state)}


def _unchanged(part: Any) -> Any:
    return part


_WIRE: dict[str, Callable[[Any], Any]] = {
    "values": values_on_wire,
    "updates": values_on_wire,
    "tasks": task_on_wire,
    "debug": debug_on_wire,
}
