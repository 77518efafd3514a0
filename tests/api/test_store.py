"""The store over HTTP, driven by the official SDK: one user's items, what graphs make of them, and nobody else's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from tests.api.serving import serving
from tests.conftest import Database
from tests.support.servers import ValkeyServer

from freehold.storage.api_keys import ApiKeys, generate
from freehold.storage.pool import create_pool

PROJECT = Path(__file__).parent / "memory" / "langgraph.json"


@dataclass(frozen=True)
class Served:
    """A server with keys and an embedder, and two people with a key each."""

    url: str
    database_url: str
    ada: LangGraphClient
    bob: LangGraphClient
    key: str

    async def raw(self, method: str, path: str, **options: Any) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.url, headers={"x-api-key": self.key}) as client:
            return await client.request(method, path, **options)


@pytest.fixture
async def served(database: Database, valkey: ValkeyServer) -> AsyncIterator[Served]:
    project = {"config": PROJECT, "shipped": False}
    with serving(database.app_url, valkey.url, server={"auth": "keys"}, agents=project) as url:
        keys = {"ada": generate(), "bob": generate()}
        async with create_pool(database.app_url, max_size=2) as pool, AsyncExitStack() as stack:
            for owner, key in keys.items():
                await ApiKeys(pool).add(key, name=owner, owner=owner)
            ada, bob = [await stack.enter_async_context(get_client(url=url, api_key=key)) for key in keys.values()]
            yield Served(url, database.app_url, ada, bob, keys["ada"])


async def remember(client: LangGraphClient, text: str, graph: str = "remembers") -> list[Any]:
    thread = await client.threads.create()
    values = await client.runs.wait(thread["thread_id"], graph, input={"text": text})
    return list(values["seen"])  # type: ignore[call-overload]


def _time_passes(database_url: str, minutes: int) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("UPDATE freehold.store_items SET expires_at = expires_at - make_interval(mins => %s)", (minutes,))


@pytest.fixture
def plain(sdk: LangGraphClient) -> Iterator[LangGraphClient]:
    """A server without an embedder and without keys."""
    yield sdk


# -- items ---------------------------------------------------------------------------------------------------------


@pytest.mark.compat("Store", "PUT /store/items", "an item is kept; a second put changes its value and keeps its creation time")
@pytest.mark.compat("Store", "GET /store/items", "the item as it was put; null where there is none")
@pytest.mark.compat("Store", "DELETE /store/items", "the item is gone afterwards; deleting what is not there is no error")
async def test_an_item_is_put_changed_and_deleted(plain: LangGraphClient) -> None:
    store = plain.store
    assert await store.get_item(["crud", "a"], "key") is None
    await store.put_item(["crud", "a"], "key", {"n": 1, "deep": {"list": [1, None, "é"]}})
    first = await store.get_item(["crud", "a"], "key")
    assert first["value"] == {"n": 1, "deep": {"list": [1, None, "é"]}}
    assert (first["namespace"], first["key"]) == (["crud", "a"], "key")
    await store.put_item(["crud", "a"], "key", {"n": 2})
    second = await store.get_item(["crud", "a"], "key")
    assert second["value"] == {"n": 2}
    assert second["created_at"] == first["created_at"] and second["updated_at"] > first["updated_at"]
    await store.delete_item(["crud", "a"], "key")
    await store.delete_item(["crud", "a"], "key")
    assert await store.get_item(["crud", "a"], "key") is None


@pytest.mark.compat("Store", "POST /store/items/search", "items of the namespace and below, page by page, last changed first")
@pytest.mark.compat("Store", "search: filter", "values equal or compared by $eq, $ne, $gt, $gte, $lt and $lte")
async def test_a_search_finds_items_below_a_namespace_by_filter(plain: LangGraphClient) -> None:
    store = plain.store
    for number in range(5):
        await store.put_item(["search", str(number % 2)], f"item {number}", {"number": number, "even": number % 2 == 0})
    await store.put_item(["searching"], "other", {"number": 1})

    async def found(**asked: Any) -> list[str]:
        return [item["key"] for item in (await store.search_items(asked.pop("prefix", ["search"]), **asked))["items"]]

    assert await found() == [f"item {number}" for number in (4, 3, 2, 1, 0)]
    assert await found(limit=2, offset=1) == ["item 3", "item 2"]
    assert await found(prefix=["search", "1"]) == ["item 3", "item 1"]
    assert await found(filter={"even": True}) == ["item 4", "item 2", "item 0"]
    assert await found(filter={"number": {"$gte": 1, "$lt": 3}}) == ["item 2", "item 1"]
    assert await found(filter={"number": {"$ne": 1}, "even": {"$eq": False}}) == ["item 3"]
    items = (await store.search_items(["search"], limit=1))["items"]
    assert set(items[0]) == {"namespace", "key", "value", "created_at", "updated_at", "score"}


@pytest.mark.compat("Store", "search: query without an embedder", "items that share words with the query come first, with a score")
async def test_without_an_embedder_a_query_is_about_words(plain: LangGraphClient) -> None:
    await plain.store.put_item(["words"], "cats", {"text": "cats like fish"})
    await plain.store.put_item(["words"], "cars", {"text": "cars need oil"})
    items = (await plain.store.search_items(["words"], query="fish for cats"))["items"]
    assert [(item["key"], bool(item["score"])) for item in items] == [("cats", True), ("cars", False)]


@pytest.mark.compat("Store", "POST /store/namespaces", "exactly as given; prefix and suffix with * for one label, max_depth, pages")
async def test_namespaces_are_listed_as_they_were_given(plain: LangGraphClient) -> None:
    store = plain.store
    given = [["Listed", "a b", "x"], ["Listed", "é%_", "x"], ["Listed", "é%_", "y", "z"]]
    for namespace in given:
        await store.put_item(namespace, "key", {})

    async def listed(**asked: Any) -> list[list[str]]:
        return (await store.list_namespaces(prefix=asked.pop("prefix", ["Listed"]), **asked))["namespaces"]

    assert await listed() == given
    assert await listed(suffix=["x"]) == given[:2]
    assert await listed(prefix=["Listed", "*", "x"]) == given[:2]
    assert await listed(max_depth=2) == [["Listed", "a b"], ["Listed", "é%_"]]
    assert await listed(limit=1, offset=1) == given[1:2]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/store/items", {"namespace": [], "key": "k", "value": {}}),
        ("PUT", "/store/items", {"namespace": ["a.b"], "key": "k", "value": {}}),
        ("PUT", "/store/items", {"namespace": ["a", ""], "key": "k", "value": {}}),
        ("PUT", "/store/items", {"namespace": ["langgraph", "x"], "key": "k", "value": {}}),
        ("PUT", "/store/items", {"namespace": "a", "key": "k", "value": {}}),
        ("PUT", "/store/items", {"namespace": ["a"] * 65, "key": "k", "value": {}}),
        ("PUT", "/store/items", {"namespace": ["a" * 2000], "key": "k", "value": {}}),
        ("PUT", "/store/items", {"namespace": ["a"], "key": "", "value": {}}),
        ("PUT", "/store/items", {"namespace": ["a"], "key": "k" * 2000, "value": {}}),
        ("PUT", "/store/items", {"namespace": ["a"], "key": "k", "value": "text"}),
        ("PUT", "/store/items", {"namespace": ["a"], "key": "k"}),
        ("PUT", "/store/items", {"namespace": ["a"], "key": "k", "value": {}, "ttl": 0}),
        ("PUT", "/store/items", {"namespace": ["a"], "key": "k", "value": {}, "ttl": 1e30}),
        ("PUT", "/store/items", {"namespace": ["a"], "key": "k", "value": {}, "index": True}),
        ("PUT", "/store/items", {"namespace": ["a"], "key": "k", "value": {}, "index": [1]}),
        ("PUT", "/store/items", {"namespace": ["a"], "key": "k", "value": {"t": "x" * 5_000_000}}),
        ("GET", "/store/items?namespace=a..b&key=k", None),
        ("GET", "/store/items?namespace=a", None),
        ("GET", "/store/items?namespace=a&key=%00", None),
        ("GET", "/store/items?namespace=%00&key=k", None),
        ("DELETE", "/store/items", {"namespace": ["a"]}),
        ("DELETE", "/store/items", {"namespace": [7], "key": "k"}),
        ("POST", "/store/items/search", {"namespace_prefix": ["a"], "limit": -1}),
        ("POST", "/store/items/search", {"namespace_prefix": ["a"], "offset": -1}),
        ("POST", "/store/items/search", {"namespace_prefix": [""]}),
        ("POST", "/store/items/search", {"namespace_prefix": [], "filter": {"a": {"$where": "1"}}}),
        ("POST", "/store/items/search", {"namespace_prefix": [], "filter": ["a"]}),
        ("POST", "/store/items/search", {"namespace_prefix": [], "refresh_ttl": "yes"}),
        ("POST", "/store/namespaces", {"max_depth": 0}),
        ("POST", "/store/namespaces", {"prefix": ["a.b"]}),
    ],
)
async def test_what_cannot_be_asked_is_refused(http: httpx.AsyncClient, method: str, path: str, body: Any) -> None:
    response = await http.request(method, path, json=body)
    assert response.status_code == 422, response.text
    assert response.json()["detail"]


@pytest.mark.compat("Store", "search: other operators", "an operator that is not known is refused by name", refused=True)
async def test_an_operator_that_is_not_known_is_refused_by_name(http: httpx.AsyncClient) -> None:
    for operator in ("$regex", "$in", "$contains", "$or"):
        response = await http.post("/store/items/search", json={"namespace_prefix": [], "filter": {"a": {operator: 1}}})
        assert response.status_code == 422 and operator in response.json()["detail"]


@pytest.mark.parametrize("text", ["'; DROP TABLE store_items; --", "a' OR '1'='1", "%", "_", "\\", '"', "{a,b}", "$$", "%s %(x)s", "{0}"])
async def test_no_text_of_a_client_becomes_a_statement(plain: LangGraphClient, text: str) -> None:
    await plain.store.put_item(["inject", "bystander"], "other", {"a": 1})
    await plain.store.put_item(["inject", text], text, {text: text})
    assert (await plain.store.get_item(["inject", text], text))["value"] == {text: text}
    for asked in ({}, {"filter": {text: text}}, {"query": text, "filter": {text: {"$eq": text}}}):
        items = (await plain.store.search_items(["inject", text], **asked))["items"]  # type: ignore[arg-type]
        assert [item["key"] for item in items] == [text]
    assert (await plain.store.list_namespaces(suffix=[text]))["namespaces"] == [["inject", text]]
    await plain.store.delete_item(["inject", text], text)
    assert (await plain.store.get_item(["inject", "bystander"], "other"))["value"] == {"a": 1}


# -- whose it is, and graphs ---------------------------------------------------------------------------------------


@pytest.mark.compat("Store", "one store for each caller", "nobody reads, finds, lists, changes or deletes what is another's")
async def test_nobody_reaches_what_is_another_s(served: Served) -> None:
    await served.ada.store.put_item(["same"], "key", {"of": "ada", "text": "secret"})
    assert await served.bob.store.get_item(["same"], "key") is None
    assert (await served.bob.store.search_items([], query="secret"))["items"] == []
    assert (await served.bob.store.list_namespaces())["namespaces"] == []
    await served.bob.store.put_item(["same"], "key", {"of": "bob"})
    await served.bob.store.delete_item(["same"], "key")
    assert (await served.ada.store.get_item(["same"], "key"))["value"]["of"] == "ada"


@pytest.mark.compat("Store", "runtime.store in graphs", "a graph sees the items of its caller, who reads what it wrote")
async def test_a_graph_shares_the_store_of_its_caller(served: Served) -> None:
    await served.ada.store.put_item(["memory", "client"], "given", {"text": "from the client"})
    assert await remember(served.ada, "apples") == [{"text": "from the client"}]
    assert (await served.ada.store.get_item(["memory", "coroutine"], "apples"))["value"] == {"text": "apples"}
    assert await remember(served.bob, "pears") == []
    assert await remember(served.ada, "plums", "remembers_in_threads") == [{"text": "plums"}]
    assert (await served.ada.store.list_namespaces(prefix=["memory"]))["namespaces"] == [
        ["memory", "client"],
        ["memory", "coroutine"],
        ["memory", "thread"],
    ]


@pytest.mark.compat("Store", "search: query", "items ranked by the cosine of their embedded fields, with the filter, with a score")
@pytest.mark.compat("Store", "put: index", "fields named at the put are embedded, with false none; langgraph.json's fields else")
@pytest.mark.compat("langgraph.json", "store.index", "the project's own embed function and fields decide what is found by meaning")
async def test_a_query_finds_by_meaning(served: Served) -> None:
    store = served.ada.store
    await store.put_item(["meaning"], "near", {"text": "banana", "kind": "a"})
    await store.put_item(["meaning"], "far", {"text": "fizz", "kind": "b"})
    await store.put_item(["meaning"], "hidden", {"text": "banana"}, index=False)
    await store.put_item(["meaning"], "titled", {"title": {"short": "xylophone"}, "text": "banana"}, index=["title.short"])
    items = (await store.search_items(["meaning"], query="bananas"))["items"]
    assert items[0]["key"] == "near" and {item["key"] for item in items} == {"near", "far", "titled"}
    assert [item["score"] for item in items] == sorted((item["score"] for item in items), reverse=True)  # type: ignore[type-var]
    assert (await store.search_items(["meaning"], query="xylophones"))["items"][0]["key"] == "titled"
    assert [item["key"] for item in (await store.search_items(["meaning"], query="bananas", filter={"kind": "b"}))["items"]] == ["far"]


@pytest.mark.compat("Store", "put: ttl", "an item vanishes so many minutes after it was put or, where refreshed, last read")
@pytest.mark.compat("Store", "refresh_ttl", "a read lets the item live anew where asked; else as langgraph.json says")
@pytest.mark.compat("langgraph.json", "store.ttl", "default_ttl holds for puts without one, refresh_on_read for reads, and workers sweep")
async def test_items_live_for_a_time(served: Served) -> None:
    store, database_url = served.ada.store, served.database_url
    for key, ttl in (("brief", 5), ("default", None), ("read", 25), ("searched", 25)):
        await store.put_item(["ttl", key], key, {"text": key}, ttl=ttl)
    _time_passes(database_url, 10)
    assert await store.get_item(["ttl", "brief"], "brief") is None
    assert await store.get_item(["ttl", "read"], "read", refresh_ttl=True)
    assert (await store.search_items(["ttl", "searched"], refresh_ttl=True))["items"]
    assert await store.get_item(["ttl", "default"], "default")  # does not refresh: langgraph.json says so
    _time_passes(database_url, 22)
    assert [item["key"] for item in (await store.search_items(["ttl"], limit=10))["items"]] == ["searched", "read"]
    await _until_swept(database_url, 2)


async def _until_swept(database_url: str, left: int) -> None:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as conn:
        while (await (await conn.execute("SELECT count(*) FROM freehold.store_items")).fetchone()) != (left,):
            await asyncio.sleep(0.05)


@pytest.mark.compat("Custom auth", "@auth.on.store", "a handler puts another namespace in the place of the one asked for, or refuses")
async def test_a_projects_handler_shapes_the_namespace_of_every_request(database: Database, valkey: ValkeyServer) -> None:
    project = {"config": PROJECT.with_name("guarded.json"), "shipped": False}
    headers = {"authorization": "Bearer ann"}
    with serving(database.app_url, valkey.url, agents=project) as url:
        async with get_client(url=url, api_key=None, headers=headers) as ann, httpx.AsyncClient(base_url=url, headers=headers) as raw:
            await ann.store.put_item(["notes"], "key", {"n": 1})
            assert (await ann.store.get_item(["notes"], "key"))["namespace"] == ["ann", "notes"]
            assert (await ann.store.list_namespaces())["namespaces"] == [["ann", "notes"]]
            assert (await ann.store.list_namespaces(prefix=["other"]))["namespaces"] == []
            for number in range(3):
                await ann.store.put_item(["more"], str(number), {})
            assert len((await ann.store.search_items(["more"], limit=10))["items"]) == 2  # the handler's limit
            await ann.store.delete_item(["notes"], "key")
            assert await ann.store.get_item(["notes"], "key") is None
            refused = await raw.put("/store/items", json={"namespace": ["forbidden"], "key": "k", "value": {}})
            assert (refused.status_code, refused.json()["detail"]) == (403, "that is forbidden")
            assert (await raw.get("/store/items", params={"namespace": "forbidden", "key": "k"})).status_code == 403
            for body in ({"namespace": 7}, {"namespace": "x"}, {}):
                assert (await raw.put("/store/items", json={**body, "key": "k", "value": "text"})).status_code == 422


async def test_every_route_of_the_store_needs_a_key(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.url) as client:
        for method, path in (
            ("PUT", "/store/items"),
            ("GET", "/store/items?key=a&namespace=b"),
            ("DELETE", "/store/items"),
            ("POST", "/store/items/search"),
            ("POST", "/store/namespaces"),
        ):
            assert (await client.request(method, path, json={})).status_code == 401


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        (["store:get"], {"GET"}),
        (["store:put", "store:delete"], {"PUT", "DELETE"}),
        (["threads:read"], set()),
        (["store:*"], {"GET", "PUT", "DELETE"}),
    ],
)
async def test_a_key_reaches_as_far_as_its_scopes(served: Served, scopes: list[str], allowed: set[str]) -> None:
    key = generate()
    async with create_pool(served.database_url, max_size=1) as pool:
        await ApiKeys(pool).add(key, name="narrow", owner="narrow", scopes=scopes)
    async with httpx.AsyncClient(base_url=served.url, headers={"x-api-key": key}) as client:
        statuses = {
            "PUT": (await client.put("/store/items", json={"namespace": ["a"], "key": "k", "value": {}})).status_code,
            "GET": (await client.get("/store/items", params={"namespace": "a", "key": "k"})).status_code,
            "DELETE": (await client.request("DELETE", "/store/items", json={"namespace": ["a"], "key": "k"})).status_code,
        }
    assert {method for method, status in statuses.items() if status < 300} == allowed
    assert {status for method, status in statuses.items() if method not in allowed} <= {403}
