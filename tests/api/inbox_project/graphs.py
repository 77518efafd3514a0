"""Graphs that ask people: one whose `text` says what and how, and an agent that may not send a mail by itself."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send, interrupt

DECISIONS = {
    "action_requests": [{"name": "send_mail", "args": {"to": "ada"}, "description": "Send it?"}],
    "review_configs": [{"action_name": "send_mail", "allowed_decisions": ["approve", "reject"]}],
}

QUESTIONS: dict[str, Any] = {
    "decide": DECISIONS,
    "inbox": [{"action_request": {"action": "send", "args": {}}, "config": {"allow_accept": True, "allow_respond": False}}],
    "default": {"question": "Who?", "expires_in": 0.01, "on_expiry": "nobody"},
    "give up": {"question": "Who?", "expires_in": 0.01},
    "patient": {"question": "Who?", "expires_in": 86400},
}


class Asked(TypedDict, total=False):
    text: str
    log: Annotated[list[str], operator.add]


async def ask(state: Asked) -> Asked:
    text = state.get("text", "")
    if text.startswith("age"):
        return {"log": [f"{text}:{interrupt('How old are you?', response_schema={'type': 'integer', 'minimum': 0})}"]}
    return {"log": [f"{text}:{interrupt(QUESTIONS.get(text, {'question': text}))}"]}


def _each(state: Asked) -> list[Send]:
    return [Send("ask", {"text": text}) for text in state.get("text", "").split(",")]


_graph = StateGraph(Asked)
_graph.add_node("ask", ask)
_graph.add_conditional_edges(START, _each, ["ask"])
_graph.add_edge("ask", END)
people = _graph.compile()


@tool
def send_mail(to: str) -> str:
    """Send a mail."""
    return f"sent to {to}"


class Secretary(BaseChatModel):
    """Wants to send a mail, then says that it is done."""

    @property
    def _llm_type(self) -> str:
        return "secretary"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        call = {"name": "send_mail", "args": {"to": "ada"}, "id": "call-1", "type": "tool_call"}
        said = AIMessage("", tool_calls=[call]) if messages[-1].type == "human" else AIMessage(f"Done: {messages[-1].content}")
        return ChatResult(generations=[ChatGeneration(message=said)])


secretary = create_agent(Secretary(), [send_mail], middleware=[HumanInTheLoopMiddleware(interrupt_on={"send_mail": True})])
