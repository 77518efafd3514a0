"""What the edge asks before it lets somebody through to a part of the stack that has no login of its own."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from tests.api.serving import serving
from tests.support.servers import ValkeyServer

from freehold.storage.api_keys import ApiKeys, generate
from freehold.storage.pool import create_pool


@pytest.fixture(scope="module")
def url(own_database_url: str, valkey: ValkeyServer) -> Iterator[str]:
    with serving(own_database_url, valkey.url, worker=False, server={"auth": "keys"}) as address:
        yield address


@pytest.fixture(scope="module")
async def keys(own_database_url: str) -> dict[str, str]:
    """A key for each scope."""
    made = {scope: generate() for scope in ("write", "admin")}
    async with create_pool(own_database_url, max_size=1, name="test") as pool:
        for scope, key in made.items():
            await ApiKeys(pool).add(key, name=scope, owner=scope, organisation="local", scopes=[scope], lifetime=None)
    return made


async def asked(url: str, query: str = "", **more: object) -> int:
    async with httpx.AsyncClient() as client:
        return (await client.get(f"{url}/auth/check{query}", **more)).status_code  # type: ignore[arg-type]


async def test_whoever_has_a_key_is_let_through_however_it_is_sent(url: str, keys: dict[str, str]) -> None:
    key = keys["write"]
    assert await asked(url, headers={"x-api-key": key}) == 204
    assert await asked(url, headers={"authorization": f"Bearer {key}"}) == 204
    assert await asked(url, auth=("anybody", key)) == 204


async def test_who_has_none_or_a_wrong_one_is_not(url: str, keys: dict[str, str]) -> None:
    assert await asked(url) == 401
    assert await asked(url, headers={"x-api-key": keys["write"] + "x"}) == 401
    assert await asked(url, auth=(keys["write"], "a name is no password")) == 401
    assert await asked(url, headers={"authorization": "Basic ?"}) == 401
    assert await asked(url, headers={"authorization": "Basic /w=="}) == 401


async def test_dashboards_are_for_administrators(url: str, keys: dict[str, str]) -> None:
    assert await asked(url, "?need=admin", headers={"x-api-key": keys["write"]}) == 403
    assert await asked(url, "?need=admin", auth=("me", keys["admin"])) == 204
    assert await asked(url, "?need=nothing", auth=("me", keys["admin"])) == 422
