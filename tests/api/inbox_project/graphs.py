"""A graph that asks people: `text` says what and how."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

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
