"""API keys: made once, shown once, stored as a hash; one function turns a key into a caller."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from freehold.core.caller import Caller
from freehold.core.errors import Conflict, InvalidToken, NotFound, StorageUnavailable
from freehold.core.ids import new_id
from freehold.core.permissions import permissions_of
from freehold.storage import queries
from freehold.storage.pool import Pool, connection

SQL = queries.load("api_keys")

#: What every key of ours starts with, so that scanners for leaked secrets recognise it.
PREFIX = "fh_"

#: A key in use is noted at most this often.
NOTE_SECONDS = 60.0

#: Keys whose use is remembered in memory; beyond it some are noted once more than needed, which the statement sees.
_REMEMBERED = 10_000


@dataclass(frozen=True)
class ApiKey:
    """A key as it is listed: never the key itself. `expired` is by the database's clock."""

    key_id: UUID
    organisation: str
    owner: str
    name: str
    scopes: Sequence[str]
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    #: The key that a rotation made of this one.
    replaced_by: UUID | None
    expired: bool

    @property
    def state(self) -> str:
        """In one word: active, rotated (works for a while longer), expired or revoked."""
        if self.revoked_at:
            return "revoked"
        if self.expired:
            return "expired"
        return "rotated" if self.replaced_by else "active"


def generate() -> str:
    """A new key: 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


class ApiKeys:
    """All statements on the api_keys table."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        #: When this process last noted that a key was used.
        self._noted: dict[UUID, float] = {}
        self._notes: set[asyncio.Task[None]] = set()

    async def add(
        self,
        key: str,
        *,
        name: str,
        owner: str,
        organisation: str = "local",
        scopes: Sequence[str] = ("write",),
        lifetime: timedelta | None = None,
    ) -> UUID:
        """Store a key's hash; a key that is there already keeps its row.

        Args:
            scopes: groups or permissions of `core/permissions.py`, checked by who asks for them.
            lifetime: None: until it is revoked.
        """
        arguments = {
            "key_id": new_id(),
            "organisation": organisation,
            "owner": owner,
            "name": name,
            "key_hash": _hash(key),
            "scopes": list(scopes),
            "lifetime": lifetime,
        }
        async with connection(self._pool) as conn:
            row = await (await conn.execute(SQL["add"], arguments)).fetchone()
        assert row is not None
        return UUID(str(row["key_id"]))

    async def caller(self, key: str) -> Caller | None:
        """Who a key belongs to and what it may do; None for an unknown or revoked one.

        Raises:
            InvalidToken: it has expired; the message says when.
        """
        async with connection(self._pool) as conn:
            row = await (await conn.execute(SQL["find"], {"key_hash": _hash(key)}, prepare=True)).fetchone()
        if row is None:
            return None
        if row["expired"]:
            raise InvalidToken(
                f"this API key expired on {row['expires_at']:%Y-%m-%d %H:%M %Z}", hint="`freehold keys create NAME` makes a new one"
            )
        self._note_use(row["key_id"])
        return Caller(row["organisation"], row["owner"], permissions_of(row["scopes"]), credential=f"key:{row['key_id']}")

    async def list(self) -> list[ApiKey]:
        """All keys, newest first."""
        async with connection(self._pool) as conn:
            rows = await (await conn.execute(SQL["list"])).fetchall()
        return [ApiKey(**row) for row in rows]

    async def rotate(self, key_id: UUID, key: str, *, grace: timedelta) -> ApiKey:
        """Put another key in the place of one that works, which goes on working for `grace`.

        Args:
            key: the new one, from `generate`.

        Raises:
            NotFound: there is no such key, or it does not work any more.
            Conflict: it was rotated already.
        """
        arguments = {"key_id": key_id, "new_id": new_id(), "key_hash": _hash(key), "grace": grace}
        async with connection(self._pool) as conn, conn.transaction():
            held = await (await conn.execute(SQL["hold"], arguments)).fetchone()
            if held is None:
                raise _unknown(key_id)
            if held["replaced_by"]:
                raise Conflict(f"key {key_id} was rotated already", hint=f"rotate its successor, {held['replaced_by']}")
            made = await (await conn.execute(SQL["succeed"], arguments)).fetchone()
            await conn.execute(SQL["retire"], arguments)
        assert made is not None
        return ApiKey(**made)

    async def retire(self, old: str, new: str, *, grace: timedelta) -> bool:
        """Let a key work for `grace` at most, because another one is there for the same purpose; whether both were found."""
        async with connection(self._pool) as conn, conn.transaction():
            found = [await (await conn.execute(SQL["find"], {"key_hash": _hash(key)})).fetchone() for key in (old, new)]
            ids = [row["key_id"] for row in found if row]
            if len(ids) < 2:
                return False
            await conn.execute(SQL["retire"], {"key_id": ids[0], "new_id": ids[1], "grace": grace})
        return True

    async def revoke(self, key_id: UUID) -> None:
        """End a key at once. Raises NotFound."""
        async with connection(self._pool) as conn:
            row = await (await conn.execute(SQL["revoke"], {"key_id": key_id})).fetchone()
        if row is None:
            raise _unknown(key_id)

    def _note_use(self, key_id: UUID) -> None:
        """Beside the request, which does not wait for it."""
        now = time.monotonic()
        if now - self._noted.get(key_id, -NOTE_SECONDS) < NOTE_SECONDS:
            return
        if len(self._noted) >= _REMEMBERED:
            self._noted.clear()
        self._noted[key_id] = now
        task = asyncio.create_task(self._write_use(key_id), name="note-key-use")
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def _write_use(self, key_id: UUID) -> None:
        try:
            async with connection(self._pool) as conn:
                await conn.execute(SQL["note_use"], {"key_id": key_id, "seconds": NOTE_SECONDS})
        except StorageUnavailable:
            self._noted.pop(key_id, None)  # the next use is noted instead


def _unknown(key_id: UUID) -> NotFound:
    return NotFound(f"no active key {key_id}", hint="`freehold keys list` shows them")


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
