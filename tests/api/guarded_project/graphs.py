"""A graph that says whom it works for."""

from __future__ import annotations

from typing import TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    identity: str
    team: str
    team_of_user: str


async def say(state: State, config: RunnableConfig) -> State:
    configurable = config["configurable"]
    user = configurable["langgraph_auth_user"]
    assert user["identity"] == user.identity == configurable["langgraph_auth_user_id"]
    return {"identity": user.identity, "team": configurable.get("team", ""), "team_of_user": user["team"]}


_graph = StateGraph(State)
_graph.add_node("say", say)
_graph.add_edge(START, "say")
_graph.add_edge("say", END)
whoami = _graph.compile()
