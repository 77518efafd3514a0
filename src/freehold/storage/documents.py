"""Ingested documents in Postgres. Their chunks are written and searched by the index (`rag.index.pgvector`) with the same queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from freehold.core.caller import Caller
from freehold.storage import queries
from freehold.storage.pool import Pool, connection

SQL = queries.load("documents")


@dataclass(frozen=True)
class Document:
    """One file as it is to be stored."""

    path: str  # absolute path, or a name such as "sample:handbook.md": which document this is
    source: str  # what citations show, e.g. "policies/leave.md"
    content_hash: str  # SHA-256 of the bytes and of the settings that shape chunks
    media_type: str
    bytes: int
    title: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Stored:
    """What tells whether a file has changed since it was ingested."""

    document_id: UUID
    path: str
    source: str
    content_hash: str


@dataclass(frozen=True)
class Listed:
    """A document as people see it."""

    document_id: UUID
    path: str
    source: str
    title: str | None
    media_type: str
    bytes: int
    chunks: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Counts:
    """How much a caller has stored."""

    documents: int
    chunks: int
    other_model: int  # chunks that another embedding model made: searches do not see them


class Documents:
    """All statements on the documents table but those of the index."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def below(self, caller: Caller, path: str) -> dict[str, Stored]:
        """Stored documents by path: the file `path` itself and everything in the folder of that name."""
        arguments = {**caller.arguments(), "path": path, "prefix": path.rstrip("/") + "/"}
        async with connection(self._pool) as conn:
            rows = await (await conn.execute(SQL["below"], arguments)).fetchall()
        return {row["path"]: Stored(**row) for row in rows}

    async def named(self, caller: Caller, name: str) -> list[Stored]:
        """Documents with this id, path or source, or in a folder of that name."""
        arguments = {**caller.arguments(), "name": name, "prefix": name.rstrip("/") + "/"}
        async with connection(self._pool) as conn:
            rows = await (await conn.execute(SQL["named"], arguments)).fetchall()
        return [Stored(**row) for row in rows]

    async def listing(self, caller: Caller, *, limit: int = 1000) -> list[Listed]:
        """The caller's documents, last changed first."""
        async with connection(self._pool) as conn:
            rows = await (await conn.execute(SQL["list"], {**caller.arguments(), "limit": limit})).fetchall()
        return [Listed(**{name: row[name] for name in Listed.__dataclass_fields__}) for row in rows]

    async def any(self, caller: Caller) -> bool:
        """Whether the caller has any document."""
        async with connection(self._pool) as conn:
            return await (await conn.execute(SQL["any"], caller.arguments())).fetchone() is not None

    async def counts(self, caller: Caller, *, model: str) -> Counts:
        """Documents and chunks of the caller; `model` is the embedding model in use."""
        async with connection(self._pool) as conn:
            row = await (await conn.execute(SQL["count"], {**caller.arguments(), "model": model})).fetchone()
        return Counts(**row) if row else Counts(0, 0, 0)

    async def rename(self, caller: Caller, document_id: UUID, source: str) -> None:
        """Show a document under another source."""
        async with connection(self._pool) as conn:
            await conn.execute(SQL["rename"], {**caller.arguments(), "document_id": document_id, "source": source})

    async def remove(self, caller: Caller, document_ids: Sequence[UUID]) -> int:
        """Forget documents and their chunks; how many there were."""
        async with connection(self._pool) as conn:
            return (await conn.execute(SQL["remove"], {**caller.arguments(), "document_ids": list(document_ids)})).rowcount
