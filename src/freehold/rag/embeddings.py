"""Our embedding model behind LangChain's interface, for parts that take any embedder, such as the store."""

from __future__ import annotations

import asyncio

from langchain_core.embeddings import Embeddings

from freehold.rag.embed import Embedder, EmbedderLoader


class OwnEmbeddings(Embeddings):
    """The configured embedding model, loaded on first use, once. It is asynchronous only."""

    def __init__(self, loader: EmbedderLoader) -> None:
        self._load = loader
        self._embedder: Embedder | None = None
        self._loading = asyncio.Lock()

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Raises DownloadError where the model has to be fetched first and cannot be."""
        vectors: list[list[float]] = (await (await self._ready()).embed(texts)).tolist()
        return vectors

    async def aembed_query(self, text: str) -> list[float]:
        """As `aembed_documents`, of one text."""
        return (await self.aembed_documents([text]))[0]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        raise NotImplementedError("use aembed_documents")

    def embed_query(self, text: str) -> list[float]:
        raise NotImplementedError("use aembed_query")

    async def _ready(self) -> Embedder:
        async with self._loading:
            if self._embedder is None:
                self._embedder = await self._load()
        return self._embedder
