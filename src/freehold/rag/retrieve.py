"""From a question to the passages that may answer it."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from freehold.core.caller import Caller
from freehold.core.errors import InvalidRequest
from freehold.rag.embed import Embedder
from freehold.rag.index.base import Index

#: Longer questions say nothing more to a model that reads 256 tokens.
_MAX_QUESTION_CHARACTERS = 4000


@dataclass(frozen=True)
class Passage:
    """A chunk that was found, with all that a citation needs."""

    chunk_id: UUID
    document_id: UUID
    source: str  # e.g. "policies/leave.md"
    page: int | None  # of a PDF, from 1
    heading: str | None  # e.g. "Time off > Parental leave"
    content: str
    score: float  # cosine similarity, -1..1


async def retrieve(question: str, caller: Caller, *, embedder: Embedder, index: Index, top_k: int, min_score: float) -> list[Passage]:
    """The caller's `top_k` passages nearest to the question, best first, without those that score under `min_score`.

    An empty list means that nothing relevant was found.

    Raises:
        InvalidRequest: the question is blank.
        StorageUnavailable: the database does not answer.
    """
    text = question.replace("\x00", " ").strip()[:_MAX_QUESTION_CHARACTERS]
    if not text:
        raise InvalidRequest("the question is blank")
    vector = await embedder.embed_query(text)
    hits = await index.search(vector, caller, model=embedder.model, top_k=top_k)
    # The threshold comes after the ordered scan: beside it in the query it would cut the scan short.
    return [
        Passage(hit.chunk_id, hit.document_id, hit.source, hit.page, hit.heading, hit.content, hit.score)
        for hit in hits
        if hit.score >= min_score
    ]
