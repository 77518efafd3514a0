"""From what a graph streams to the events LangGraph clients read: names, namespaces and JSON, one function a mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage, BaseMessageChunk, message_chunk_to_message

from freehold.core.encode import to_json

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
}


@dataclass(frozen=True)
class Named:
    """An event before it has an id; `delta` marks token pieces, which may wait for a batch."""

    name: str
    data: bytes
    delta: bool = False


class Translator:
    """Turns the parts of one run's stream into events; holds the messages being accumulated for mode `messages`."""

    def __init__(self, modes: tuple[str, ...]) -> None:
        self._modes = frozenset(modes)
        self._messages: dict[str, BaseMessage] = {}

    @property
    def graph_modes(self) -> list[str]:
        """Modes to stream the graph with; `values` always, because the last one is the run's result."""
        return sorted({GRAPH_MODES[mode] for mode in self._modes} | {"values"})

    def events(self, namespace: tuple[str, ...], mode: str, part: Any) -> Iterator[Named]:
        """Events for one part of the graph's stream."""
        suffix = "|" + "|".join(namespace) if namespace else ""
        if mode == "messages":
            yield from self._message(part, suffix)
        elif mode in self._modes:
            yield Named(mode + suffix, to_json(_WIRE.get(mode, _unchanged)(part)))

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


def interrupts_on_wire(interrupts: Any) -> list[dict[str, Any]]:
    """`Interrupt` values as clients know them: `[{"value": …, "id": …}]`."""
    return [{"value": interrupt.value, "id": interrupt.id} for interrupt in interrupts or ()]


def values_on_wire(part: Any) -> Any:
    """State values with their interrupts, if any, in the clients' form."""
    if isinstance(part, dict) and INTERRUPT in part:
        return {**part, INTERRUPT: interrupts_on_wire(part[INTERRUPT])}
    return part


def _unchanged(part: Any) -> Any:
    return part


def _task(part: Any) -> Any:
    if isinstance(part, dict) and part.get("interrupts"):
        return {**part, "interrupts": [{"value": item["value"], "id": item["id"]} for item in part["interrupts"]]}
    return part


_WIRE: dict[str, Callable[[Any], Any]] = {"values": values_on_wire, "updates": values_on_wire, "tasks": _task}
