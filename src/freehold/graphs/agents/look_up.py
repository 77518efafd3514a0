"""Looks into the user's documents before the model speaks, so that an answer rests on them even where a small model would
not think of searching.

It is an ordinary call of the search tool, visible to clients, logged and cited like the model's own, made only when the
documents hold something that fits. It costs a few milliseconds, against a second model call where the model searches itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain.agents.middleware import AgentMiddleware, AgentState
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.tools import BaseTool
from langgraph.config import get_config
from langgraph.runtime import Runtime

#: Shorter messages are greetings and follow-ups ("and in days?"), which say nothing to a search.
_MIN_CHARACTERS = 12


class LookUpFirst(AgentMiddleware[Any, Any]):
    """Searches for the user's own words at the start of a turn; adds the call and its answer where the best passage fits well.

    Args:
        search: the guarded `search_knowledge_base`.
        min_score: cosine similarity the best passage must reach; higher than the tool's own threshold, because nobody
            asked for this search.
    """

    def __init__(self, search: BaseTool, min_score: float) -> None:
        super().__init__()
        self._search = search
        self._min_score = min_score

    async def abefore_agent(self, state: AgentState[Any], runtime: Runtime[Any]) -> dict[str, Any] | None:
        question = state["messages"][-1] if state["messages"] else None
        if not isinstance(question, HumanMessage) or len(question.text.strip()) < _MIN_CHARACTERS:
            return None
        # The message's id makes the call's id the same when a crashed run is executed again.
        call = ToolCall(name=self._search.name, args={"query": question.text.strip()}, id=f"lookup_{question.id}", type="tool_call")
        answer = await self._search.ainvoke(call, get_config())
        if not isinstance(answer, ToolMessage) or not self._fits(answer):
            return None
        added: Sequence[AnyMessage] = (AIMessage("", tool_calls=[call]), answer)
        return {"messages": list(added)}

    def _fits(self, answer: ToolMessage) -> bool:
        return any(passage["score"] >= self._min_score for passage in answer.artifact or ())
