"""The agent Freehold ships: a model, the tools, and limits around both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ToolCallLimitMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool
from langgraph.graph.state import CompiledStateGraph

from freehold.config.settings import LimitsSection
from freehold.graphs.agents.look_up import LookUpFirst
from freehold.graphs.agents.middleware import AnswerFailures, CiteSources, FitContext, MarkCalls, ModelCallLimit, NumberPassages, SettleLog
from freehold.storage.tool_calls import ToolCallLog
from freehold.tools.search_knowledge_base import NAME as SEARCH

#: Constant, so that model servers can keep its processed form; nothing that changes (time, user) belongs here.
SYSTEM_PROMPT = """\
You are the assistant of this private server; you run on the user's own hardware. Answer briefly and truthfully.
Use a tool when it helps: calculate for every calculation, search_knowledge_base for questions about the user's documents, \
their organisation or anything you do not know for certain.
Answer general greetings and questions you are certain about directly, without a tool.
When a tool finds nothing or fails, say so plainly. Never invent facts, numbers or sources.
After a tool answered, give the answer to the user in plain words."""

#: Prompt and tool schemas of the shipped agent, in tokens, rather too many.
_FIXED_TOKENS = 900
_MIN_BUDGET_TOKENS = 512

#: Cosine similarity from which a passage is put before the model unasked. On the sample handbook (all-MiniLM-L6-v2) nine questions it
#: answers scored 0.37 to 0.67, eleven greetings, sums and other subjects 0.04 to 0.35.
LOOK_UP_MIN_SCORE = 0.36


def build(
    model: BaseChatModel,
    tools: Sequence[BaseTool],
    limits: LimitsSection,
    *,
    context_tokens: int = 8192,
    call_log: ToolCallLog | None = None,
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """The compiled graph, without a checkpointer; its one input is `{"messages": [...]}`.

    Tool calls of one step run in parallel. The last message of a run is always an answer in words: limits and a failing
    model end in a sentence (`response_metadata["error_code"]` names the cause), and `additional_kwargs["sources"]` lists
    the passages it cites as `{chunk_id, source, page, heading, score}`.

    Args:
        tools: guarded tools (`freehold.tools.base.guard`).
        context_tokens: what the model can read and write in one call.
        call_log: waited for at the end of each run.
    """
    budget = max(context_tokens - limits.output_tokens - _FIXED_TOKENS, _MIN_BUDGET_TOKENS)
    middleware: list[AgentMiddleware[Any, Any]] = [
        *([SettleLog(call_log)] if call_log is not None else []),
        CiteSources(),
        *(LookUpFirst(tool, LOOK_UP_MIN_SCORE) for tool in tools if tool.name == SEARCH),
        ModelCallLimit(run_limit=limits.model_calls),
        # "continue": calls over the limit are answered with an error, and the model still gets to answer the user.
        ToolCallLimitMiddleware(run_limit=limits.tool_calls, exit_behavior="continue"),
        AnswerFailures(),
        NumberPassages(),
        FitContext(budget),
        MarkCalls(),
    ]
    return create_agent(model, list(tools), system_prompt=SYSTEM_PROMPT, middleware=middleware, name="assistant")
