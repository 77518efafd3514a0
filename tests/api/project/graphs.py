"""Small deterministic agents that the API tests drive."""

from __future__ import annotations

import asyncio
import json
import operator
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any, TypedDict

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import interrupt


class EchoState(TypedDict, total=False):
    text: str
    log: Annotated[list[str], operator.add]


def _chain(state: type, **nodes: Any) -> StateGraph:
    graph = StateGraph(state)
    before = START
    for name, node in nodes.items():
        graph.add_node(name, node)
        graph.add_edge(before, name)
        before = name
    graph.add_edge(before, END)
    return graph


async def first(state: EchoState, config: RunnableConfig) -> EchoState:
    tone = config["configurable"].get("tone", "plain")
    return {"log": [f"first:{state.get('text', '')}:{tone}"]}


async def second(state: EchoState) -> EchoState:
    return {"log": [f"second:{state.get('text', '')}"]}


echo = _chain(EchoState, first=first, second=second).compile()


async def count(state: EchoState) -> EchoState:
    """Writes one custom event every few milliseconds; `text` says how many."""
    write = get_stream_writer()
    for number in range(int(state.get("text", "20"))):
        write({"number": number})
        await asyncio.sleep(0.01)
    return {"log": ["counted"]}


slow = _chain(EchoState, count=count).compile()


async def ask(state: EchoState) -> EchoState:
    answer = interrupt({"question": "Which colour?"})
    return {"log": [f"answer:{answer}"]}


asks = _chain(EchoState, ask=ask).compile()


async def fail(state: EchoState) -> EchoState:
    raise ValueError("the graph failed on purpose")


fails = _chain(EchoState, first=first, fail=fail).compile()


async def wait(state: EchoState) -> EchoState:
    """Never ends by itself within a test."""
    await asyncio.sleep(600)
    return {"log": ["waited"]}


waits = _chain(EchoState, first=first, wait=wait).compile()

nested = _chain(EchoState, before=first, inner=_chain(EchoState, deep=second).compile(), after=second).compile()


@dataclass
class Manner:
    """How `told` is to behave."""

    tone: str = "plain"
    model: str = "small"


async def tell(state: EchoState, config: RunnableConfig, runtime: Runtime[Manner]) -> EchoState:
    """Answers with what a node is told about its run."""
    seen = {
        "configurable": {key: value for key, value in config["configurable"].items() if not key.startswith(("__", "checkpoint"))},
        "context": asdict(runtime.context),
        "metadata": config["metadata"],
        "tags": config.get("tags"),
        "recursion_limit": config.get("recursion_limit"),
    }
    return {"text": json.dumps(seen, default=str)}


_told = StateGraph(EchoState, context_schema=Manner)
_told.add_node("tell", tell)
_told.add_edge(START, "tell")
_told.add_edge("tell", END)
told = _told.compile()


def made(config: RunnableConfig) -> StateGraph:
    """Has the nodes it is told to have."""
    names = config["configurable"].get("nodes") or ["only"]
    return _chain(EchoState, **dict.fromkeys(names, second))


class Parrot(BaseChatModel):
    """Streams the last user message back word by word; "calculate" makes it call a tool first."""

    @property
    def _llm_type(self) -> str:
        return "parrot"

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        whole: AIMessageChunk | None = None
        async for chunk in self._astream(messages):
            whole = chunk.message if whole is None else whole + chunk.message  # type: ignore[assignment,operator]
        assert whole is not None
        return ChatResult(generations=[ChatGeneration(message=AIMessage(whole.content, usage_metadata=whole.usage_metadata))])

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError

    async def _astream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: AsyncCallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        said = str(messages[-1].content)
        words = said.split(" ") if messages[-1].type == "human" else ["Done:", said]
        for place, word in enumerate(words):
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=word if place == 0 else f" {word}"))
            if run_manager:
                await run_manager.on_llm_new_token(str(chunk.message.content), chunk=chunk)
            yield chunk
        usage = {"input_tokens": len(messages), "output_tokens": len(words), "total_tokens": len(messages) + len(words)}
        yield ChatGenerationChunk(message=AIMessageChunk(content="", usage_metadata=usage))  # type: ignore[arg-type]


async def talk(state: MessagesState) -> dict[str, Any]:
    said = state["messages"][-1]
    if said.content == "think for ever":
        await asyncio.sleep(600)
    if str(said.content).startswith("think a little"):
        await asyncio.sleep(1)
    if said.type == "human" and said.content == "calculate":
        call = {"name": "calculate", "args": {"expression": "42 * 17"}, "id": "call-1", "type": "tool_call"}
        return {"messages": [AIMessage("", tool_calls=[call])]}
    return {"messages": [await Parrot().ainvoke(state["messages"])]}


async def tool(state: MessagesState) -> dict[str, Any]:
    return {"messages": [ToolMessage("714", tool_call_id="call-1", name="calculate")]}


def _next(state: MessagesState) -> str:
    return "tool" if getattr(state["messages"][-1], "tool_calls", None) else END


_talker = StateGraph(MessagesState)
_talker.add_node("talk", talk)
_talker.add_node("tool", tool)
_talker.add_edge(START, "talk")
_talker.add_conditional_edges("talk", _next, ["tool", END])
_talker.add_edge("tool", "talk")
talker = _talker.compile()
