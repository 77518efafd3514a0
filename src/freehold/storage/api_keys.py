"""API keys: made once, shown once, stored as a hash; one function turns a key into a caller."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from freehold.core.caller import Caller
from freehold.core.errors import NotFound
from freehold.core.ids import new_id
from freehold.storage.pool import Pool, connection

#: What every key of ours starts with, so that scanners for leaked secrets recognise it.
PREFIX = "fh_"


@dataclass(frozen=True)
class ApiKey:
    """A key as it is listed: never the key itself."""

    key_id: UUID
    organisation: str
    owner: str
    name: str
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


def generate() -> str:
    """A new key: 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


class ApiKeys:
    """All statements on the api_keys table."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, key: str, *, name: str, owner: str, organisation: str = "local") -> UUID:
        """Store a key's hash; a key that is there already keeps its row."""
        async with connection(self._pool) as conn:
            row = await (
                await conn.execute(
                    "INSERT INTO freehold.api_keys (key_id, organisation, owner, name, key_hash) VALUES (%s, %s, %s, %s, %s) "
                    "ON CONFLICT (key_hash) DO UPDATE SET name = EXCLUDED.name RETURNING key_id",
                    (new_id(), organisation, owner, name, _hash(key)),
                )
            ).fetchone()
        assert row is not None
        return UUID(str(row["key_id"]))

    async def caller(self, key: str) -> Caller | None:
        """Who a key belongs to; None for an unknown or revoked one."""
        async with connection(self._pool) as conn:
            row = await (
                await conn.execute(
                    "SELECT organisation, owner FROM freehold.api_keys WHERE key_hash = %s AND revoked_at IS NULL",
                    (_hash(key),),
                )
            ).fetchone()
        return Caller(row["organisation"], row["owner"]) if row else None

    async def list(self) -> list[ApiKey]:
        """All keys, newest first."""
        async with connection(self._pool) as conn:
            rows = await (
                await conn.execute(
                    "SELECT key_id, organisation, owner, name, created_at, last_used_at, revoked_at"
                    " FROM freehold.api_keys ORDER BY created_at DESC"
                )
            ).fetchall()
        return [ApiKey(**row) for row in rows]

    async def revoke(self, key_id: UUID) -> None:
        """End a key at once. Raises NotFound."""
        async with connection(self._pool) as conn:
            row = await (
                await conn.execute(
                    "UPDATE freehold.api_keys SET revoked_at = now() WHERE key_id = %s AND revoked_at IS NULL RETURNING 1", (key_id,)
                )
            ).fetchone()
        if row is None:
            raise NotFound(f"no active key {key_id}", hint="`freehold keys list` shows them")


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
