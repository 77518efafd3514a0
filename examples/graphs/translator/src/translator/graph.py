"""A factory: the graph depends on the run's configuration, so it is built for each run, with connections that end with it.

The model is whatever OPENAI_BASE_URL points at; `freehold up` sets it to the local one.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from langchain_core.runnables import RunnableConfig
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph

from .state import Configuration


@asynccontextmanager
async def make_graph(config: RunnableConfig) -> AsyncIterator[StateGraph[Any, Any, Any, Any]]:
    language = config.get("configurable", {}).get("language") or os.environ["TRANSLATOR_LANGUAGE"]
    async with httpx.AsyncClient(timeout=120) as client:
        model = ChatOpenAI(
            model=os.environ.get("FREEHOLD_MODEL", "default"), api_key=os.environ.get("OPENAI_API_KEY", "none"), http_async_client=client
        )

        async def translate(state: MessagesState) -> dict[str, Any]:
            instruction = f"Translate what the user writes into {language}. Answer with the translation only."
            return {"messages": [await model.ainvoke([("system", instruction), *state["messages"][-1:]])]}

        builder = StateGraph(MessagesState, context_schema=Configuration)
        builder.add_node("translate", translate)
        builder.add_edge(START, "translate")
        builder.add_edge("translate", END)
        yield builder
