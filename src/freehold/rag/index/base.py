"""What an index of chunks promises, whichever database holds it.

Contract, the same for every backend:

- Everything is scoped by `Caller`: no call reads, replaces or deletes what belongs to another organisation or owner.
- `upsert` replaces a document and all of its chunks at once: a search meanwhile sees the old ones or the new, never a
  mix and never a part, also when the process dies in the middle.
- `search` returns exactly `top_k` hits where the caller has that many chunks of that model, fewer only where not; ordered by
  falling score. It applies no threshold.
- A backend that does not answer raises `StorageUnavailable`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from freehold.core.caller import Caller
from freehold.rag.split import Chunk
from freehold.storage.documents import Document

Vector = NDArray[np.float32]  # [dimensions], L2-normalised
Vectors = NDArray[np.float32]  # [n, dimensions], L2-normalised


@dataclass(frozen=True)
class Hit:
    """A chunk near the question."""

    chunk_id: UUID
    document_id: UUID
    source: str
    page: int | None
    heading: str | None
    content: str
    score: float  # cosine similarity, -1..1


class Index(Protocol):
    """See the contract at the top of this module."""

    async def upsert(self, document: Document, chunks: Sequence[Chunk], vectors: Vectors, caller: Caller, *, model: str) -> bool:
        """Store the document's chunks in place of any earlier ones; False where the same content was there already.

        Raises:
            ConfigError: the vectors have another dimension than the index.
        """

    async def delete(self, document_ids: Sequence[UUID], caller: Caller) -> int:
        """Forget documents with their chunks; how many there were."""

    async def search(self, vector: Vector, caller: Caller, *, model: str, top_k: int) -> list[Hit]:
        """The chunks embedded by `model` that are nearest to `vector`."""
