"""A caller's documents as one thing to hold: what the composition root builds, and tools, server and command line use."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from freehold.config.settings import KnowledgeSection
from freehold.core.caller import Caller
from freehold.core.errors import NotFound
from freehold.core.progress import Progress, Silent
from freehold.rag.embed import Embedder, EmbedderLoader
from freehold.rag.index.pgvector import PgvectorIndex
from freehold.rag.ingest import Ingester, IngestReport
from freehold.rag.retrieve import Passage, retrieve
from freehold.storage.documents import Counts, Documents, Listed
from freehold.storage.pool import Pool
from freehold.telemetry import conventions, tracing
from freehold.telemetry.retrievals import counted_retrieval


class Knowledge:
    """Ingest, search, list and remove documents. The embedding model is loaded on first use, once."""

    def __init__(self, pool: Pool, embedder_loader: EmbedderLoader, settings: KnowledgeSection) -> None:
        self._settings = settings
        self._documents = Documents(pool)
        self._index = PgvectorIndex(pool)
        self._load_embedder = embedder_loader
        self._embedder: Embedder | None = None
        self._loading = asyncio.Lock()

    async def ingest(self, paths: Sequence[Path], caller: Caller, progress: Progress | None = None) -> IngestReport:
        """Bring files and folders up to date; see `rag.ingest`.

        Raises:
            StorageUnavailable: the database went away; what was stored so far stays.
            DownloadError: the embedding model cannot be fetched.
        """
        return await (await self._ingester(caller)).ingest(paths, progress or Silent())

    async def ingest_sample(self, caller: Caller, progress: Progress | None = None) -> IngestReport:
        """Bring in the sample document that Freehold ships. Raises as `ingest`."""
        return await (await self._ingester(caller)).ingest_sample(progress or Silent())

    async def retrieve(self, question: str, caller: Caller, *, top_k: int | None = None, min_score: float | None = None) -> list[Passage]:
        """Passages that may answer the question, best first; an empty list where nothing relevant was found.

        Args:
            top_k: how many at most; default `knowledge.top_k`.
            min_score: cosine similarity they must reach; default `knowledge.min_score`.

        Raises:
            InvalidRequest: the question is blank.
            StorageUnavailable: the database does not answer.
            DownloadError: the embedding model cannot be fetched.
        """
        with counted_retrieval() as found, tracing.span("retrieval knowledge", lambda: conventions.retrieval("knowledge")) as span:
            tracing.tell_content(span, lambda: conventions.content_query(question))
            if not await self._documents.any(caller):
                return []  # without loading, or fetching, a model that has nothing to search
            passages = await retrieve(
                question,
                caller,
                embedder=await self._embedder_ready(),
                index=self._index,
                top_k=self._settings.top_k if top_k is None else top_k,
                min_score=self._settings.min_score if min_score is None else min_score,
            )
            found(passage.score for passage in passages)
            span.set_attributes(conventions.found((str(passage.chunk_id), passage.score) for passage in passages))
            tracing.tell_content(span, lambda: conventions.content_passages(passage.content for passage in passages))
        return passages

    async def documents(self, caller: Caller) -> list[Listed]:
        """What the caller has ingested, last changed first."""
        return await self._documents.listing(caller)

    async def counts(self, caller: Caller) -> Counts:
        """How much the caller has ingested; needs the embedding model's name, so it loads the model."""
        return await self._documents.counts(caller, model=(await self._embedder_ready()).model)

    async def remove(self, name: str, caller: Caller) -> list[str]:
        """Forget the documents with this id, path or source, or below a folder of that name; their sources.

        Raises:
            NotFound: there is none.
        """
        found = await self._documents.named(caller, name)
        if not found:
            raise NotFound(f'no document "{name}"', hint="`freehold knowledge list` shows what was ingested")
        await self._index.delete([item.document_id for item in found], caller)
        return sorted(item.source for item in found)

    async def warm(self) -> None:
        """Load the embedding model now, so that the first question does not wait for it."""
        await self._embedder_ready()

    def close(self) -> None:
        """End the embedder's thread."""
        if self._embedder:
            self._embedder.close()

    async def _ingester(self, caller: Caller) -> Ingester:
        return Ingester(self._documents, self._index, await self._embedder_ready(), self._settings, caller)

    async def _embedder_ready(self) -> Embedder:
        async with self._loading:
            if self._embedder is None:
                self._embedder = await self._load_embedder()
        return self._embedder
