"""What the store finds by meaning: which texts of a value are embedded, by what, and how vectors are written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.embeddings import Embeddings
from langgraph.store.base import get_text_at_path, tokenize_path

from freehold.core.errors import ConfigError, FreeholdError, InvalidRequest, ModelUnavailable

#: Texts of one item that are embedded at most; a path such as `messages[*].content` may name many.
MAX_TEXTS = 256

#: Characters of a text that are embedded; embedders see no more of it, or refuse longer ones.
MAX_CHARACTERS = 8192

#: Lengths of vectors that an index exists for, see migration 0014.
INDEXED_DIMS = frozenset({384, 768, 1024, 1536})


@dataclass(frozen=True)
class Vectors:
    """What an item is found by: paths of its texts and, for each, the vector as pgvector reads it."""

    fields: list[str]
    embeddings: list[str]


@dataclass(frozen=True)
class Semantic:
    """How items are embedded."""

    embeddings: Embeddings
    #: Stored with every vector: vectors of different models do not compare.
    model: str
    dims: int
    #: Paths that are embedded where a put says nothing else; `$` is the whole value.
    fields: tuple[str, ...] = ("$",)

    async def vectors(self, value: Any, paths: Sequence[str] | None) -> Vectors:
        """Of one item; `paths`: what to embed instead of `fields`.

        Raises:
            InvalidRequest: more texts than an item may have.
            ConfigError: the embedder's vectors are not as long as configured.
            ModelUnavailable: the embedder failed.
        """
        texts = dict(self._texts(value, self.fields if paths is None else paths))
        if len(texts) > MAX_TEXTS:
            raise InvalidRequest(f"index: {len(texts)} texts to embed, {MAX_TEXTS} at most", hint="name fewer fields")
        if not texts:
            return Vectors([], [])
        return Vectors(list(texts), [self._literal(vector) for vector in await self._embedded(list(texts.values()))])

    async def query(self, text: str) -> str:
        """The vector of a question. Raises as `vectors`."""
        try:
            return self._literal(await self.embeddings.aembed_query(text[:MAX_CHARACTERS]))
        except Exception as error:
            raise self._explained(error) from error

    async def _embedded(self, texts: list[str]) -> list[list[float]]:
        try:
            return await self.embeddings.aembed_documents(texts)
        except Exception as error:
            raise self._explained(error) from error

    def _explained(self, error: Exception) -> FreeholdError:
        """What an embedder raised, which may be the project's own function or somebody's client."""
        if isinstance(error, FreeholdError):
            return error
        return ModelUnavailable(
            f"the store's embedder {self.model} failed: {type(error).__name__}", hint="the item was not stored or searched"
        )

    def _texts(self, value: Any, paths: Sequence[str]) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for path in paths:
            texts = [text for text in get_text_at_path(value, path if path == "$" else tokenize_path(path)) if text.strip()]
            names = [path] if len(texts) == 1 else [f"{path}.{number}" for number in range(len(texts))]
            found += zip(names, (text[:MAX_CHARACTERS] for text in texts), strict=True)
        return found

    def _literal(self, vector: Sequence[float]) -> str:
        if len(vector) != self.dims:
            raise ConfigError(f"store.index.dims: {self.model} makes vectors of {len(vector)} dimensions, {self.dims} are configured")
        return "[" + ",".join(f"{value:.9g}" for value in vector) + "]"  # nine digits carry a float32 exactly
