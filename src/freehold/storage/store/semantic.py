"""What the store finds by meaning: which texts of a value are embedded, by what, and how vectors are written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
class Semantic:
    """How items are embedded."""

    embeddings: Embeddings
    #: Stored with every vector: vectors of different models do not compare.
    model: str
    dims: int
    #: Paths that are embedded where a put says nothing else; `$` is the whole value.
    fields: tuple[str, ...] = ("$",)

    def texts(self, value: Any, paths: Sequence[str] | None) -> dict[str, str]:
        """What an item is found by, by its place in the value, e.g. `{"text": "...", "messages[*].content.0": "..."}`.

        Args:
            paths: what to embed instead of `fields`.

        Raises:
            InvalidRequest: more texts than an item may have.
        """
        found: dict[str, str] = {}
        for path in self.fields if paths is None else paths:
            texts = [text for text in get_text_at_path(value, path if path == "$" else tokenize_path(path)) if text.strip()]
            names = [path] if len(texts) == 1 else [f"{path}.{number}" for number in range(len(texts))]
            found |= zip(names, (text[:MAX_CHARACTERS] for text in texts), strict=True)
        if len(found) > MAX_TEXTS:
            raise InvalidRequest(f"index: {len(found)} texts to embed, {MAX_TEXTS} at most", hint="name fewer fields")
        return found

    async def vectors(self, items: Sequence[Mapping[str, str]]) -> list[list[str]]:
        """Of the texts of several items, in their order, as pgvector reads them.

        Raises:
            ConfigError: the embedder's vectors are not as long as configured.
            ModelUnavailable: the embedder failed.
        """
        made = iter(await self._embedded([text for item in items for text in item.values()]))
        return [[self._literal(next(made)) for _ in item] for item in items]

    async def query(self, text: str) -> str:
        """The vector of a question. Raises as `vectors`."""
        try:
            return self._literal(await self.embeddings.aembed_query(text[:MAX_CHARACTERS]))
        except Exception as error:
            raise self._explained(error) from error

    async def _embedded(self, texts: list[str]) -> list[list[float]]:
        try:
            made = await self.embeddings.aembed_documents(texts)
        except Exception as error:
            raise self._explained(error) from error
        if len(made) != len(texts):
            raise ConfigError(f"store.index.embed: {self.model} made {len(made)} vectors of {len(texts)} texts")
        return made

    def _explained(self, error: Exception) -> FreeholdError:
        """What an embedder raised: our own, whose model may have to be fetched first, the project's function, or somebody's client."""
        if isinstance(error, ConfigError):
            return error
        if isinstance(error, FreeholdError):
            return ModelUnavailable(f"the store's embedder {self.model} failed: {error.message}", hint=error.hint)
        return ModelUnavailable(f"the store's embedder {self.model} failed: {type(error).__name__}", hint="nothing was stored")

    def _literal(self, vector: Sequence[float]) -> str:
        if len(vector) != self.dims:
            raise ConfigError(f"store.index.dims: {self.model} makes vectors of {len(vector)} dimensions, {self.dims} are configured")
        return "[" + ",".join(f"{value:.9g}" for value in vector) + "]"  # nine digits carry a float32 exactly
