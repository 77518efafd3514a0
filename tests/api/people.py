"""People for API tests: each with a key, and what it takes to ask as them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import httpx
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIStatusError

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


@asynccontextmanager
async def by_token(url: str, *names: str) -> AsyncIterator[dict[str, LangGraphClient]]:
    """Clients of people whom a project's own authentication knows by `Bearer NAME`."""
    async with AsyncExitStack() as stack:
        clients = {name: get_client(url=url, api_key=None, headers={"authorization": f"Bearer {name}"}) for name in names}
        yield {name: await stack.enter_async_context(client) for name, client in clients.items()}


async def refused_with(call: Awaitable[object]) -> int:
    """The status that a call of the SDK is refused with; fails where it is not refused."""
    with pytest.raises((APIStatusError, httpx.HTTPStatusError)) as refused:
        await call
    return int(refused.value.response.status_code)
