"""A graph without a model that stops for a person: it drafts a refund, waits for approval, and acts on the answer.

curl -X POST $URL/runs/wait -d '{"assistant_id": "approval", "input": {"amount": 40}}'
"""

from __future__ import annotations

from typing import Literal, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

#: Refunds up to this are paid without asking.
FREE_AMOUNT = 50


class State(TypedDict, total=False):
    amount: float
    status: str


def draft(state: State) -> Command[Literal["ask", "pay"]]:
    return Command(update={"status": "drafted"}, goto="pay" if state["amount"] <= FREE_AMOUNT else "ask")


def ask(state: State) -> Command[Literal["pay", "__end__"]]:
    """Stops here until the run is resumed with true or false."""
    is_approved = interrupt({"question": f"Refund {state['amount']:g}?"})
    return Command(goto="pay") if is_approved else Command(update={"status": "refused"}, goto=END)


def pay(state: State) -> State:
    return {"status": "paid"}


builder = StateGraph(State)
builder.add_node("draft", draft)
builder.add_node("ask", ask)
builder.add_node("pay", pay)
builder.add_edge(START, "draft")
builder.add_edge("pay", END)
graph = builder.compile()
