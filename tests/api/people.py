"""People for API tests: each with a key, and what it takes to ask as them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx

from freehold.storage.api_keys import ApiKeys, generate
from freehold.storage.pool import create_pool


async def make_key(
    database_url: str,
    owner: str,
    *,
    organisation: str = "local",
    scopes: tuple[str, ...] = ("write",),
    lifetime: timedelta | None = None,
) -> str:
    """A key of somebody."""
    async with create_pool(database_url, max_size=1) as pool:
        key = generate()
        await ApiKeys(pool).add(key, name=owner, owner=owner, organisation=organisation, scopes=scopes, lifetime=lifetime)
    return key


@asynccontextmanager
async def somebody(
    url: str, database_url: str, owner: str, *, organisation: str = "local", scopes: tuple[str, ...] = ("write",)
) -> AsyncIterator[httpx.AsyncClient]:
    """A client that asks with a key of its own."""
    key = await make_key(database_url, owner, organisation=organisation, scopes=scopes)
    async with httpx.AsyncClient(base_url=url, headers={"x-api-key": key}, timeout=30) as client:
        yield client
