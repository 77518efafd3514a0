"""Searching the caller's documents. The passages found travel with the answer as data, so citations are computed from
them and never from what a model wrote.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, Field

from freehold.core.caller import Caller
from freehold.rag.cite import format_passages
from freehold.rag.retrieve import Passage
from freehold.tools.base import current_call

NAME = "search_knowledge_base"

#: Finds the caller's passages, best first, without irrelevant ones: `retrieve` with everything but question and caller bound.
Search = Callable[[str, Caller], Awaitable[Sequence[Passage]]]


class SearchArguments(BaseModel):
    """Arguments of `search_knowledge_base`."""

    query: str = Field(description="What to look for, as a question or key words.")


def tool(search: Search) -> BaseTool:
    """The `search_knowledge_base` tool. Its artifact is the list of passages as dictionaries; see `passages_of`."""

    async def answer(query: str) -> tuple[str, list[dict[str, Any]]]:
        passages = await search(query, current_call().caller)
        return format_passages(passages), [as_artifact(passage) for passage in passages]

    return StructuredTool.from_function(
        coroutine=answer,
        name=NAME,
        description="Searches the user's own documents (policies, manuals, notes, reports) and returns the passages that fit.",
        args_schema=SearchArguments,
        response_format="content_and_artifact",
    )


def as_artifact(passage: Passage) -> dict[str, Any]:
    """A passage as plain JSON: artifacts are stored in checkpoints, which hold no classes of ours."""
    return {
        "chunk_id": str(passage.chunk_id),
        "document_id": str(passage.document_id),
        "source": passage.source,
        "page": passage.page,
        "heading": passage.heading,
        "content": passage.content,
        "score": round(passage.score, 4),
    }


def passages_of(artifact: Sequence[Mapping[str, Any]]) -> list[Passage]:
    """The passages of an artifact this tool made, in the order the model saw them."""
    return [
        Passage(
            chunk_id=UUID(item["chunk_id"]),
            document_id=UUID(item["document_id"]),
            source=item["source"],
            page=item["page"],
            heading=item["heading"],
            content=item["content"],
            score=item["score"],
        )
        for item in artifact
    ]
