"""The store on a real Postgres: what is kept, what is found, whose it is, and when it vanishes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from langchain_core.embeddings import Embeddings
from langgraph.store.base import GetOp, InvalidNamespaceError, ListNamespacesOp, MatchCondition, PutOp, SearchOp, TTLConfig
from tests.conftest import Database
from tests.support import documents

from freehold.core.caller import LOCAL, Caller
from freehold.core.errors import ConfigError, DownloadError, InvalidRequest, ModelUnavailable
from freehold.rag.embed import DIMENSIONS, Embedder
from freehold.rag.embeddings import OwnEmbeddings
from freehold.storage.migrate import migrate
from freehold.storage.pool import Pool, connection, create_pool
from freehold.storage.store import CallerStore, Semantic, Stores, caller_store

SOMEBODY_ELSE = Caller("local", "somebody-else")
ANOTHER_COMPANY = Caller("elsewhere", "local")

NOTES = ("notes",)


class Letters(Embeddings):
    """A text's vector counts its letters, so texts of the same letters are near each other."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[1 + text.lower().count(chr(ord("a") + place)) for place in range(26)] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


LETTERS = Semantic(Letters(), "letters", 26, ("text",))


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with create_pool(database_url, max_size=6) as pool:
        yield pool


@pytest.fixture
async def store(pool: Pool) -> CallerStore:
    return Stores(pool).of(LOCAL)


@pytest.fixture
async def semantic(pool: Pool) -> CallerStore:
    return Stores(pool, semantic=LETTERS).of(LOCAL)


async def keys(store: CallerStore, **asked: Any) -> list[str]:
    return [item.key for item in await store.asearch(asked.pop("namespace", ()), **asked)]


# -- items ---------------------------------------------------------------------------------------------------------


async def test_an_item_is_kept_changed_and_forgotten(store: CallerStore) -> None:
    await store.aput(NOTES, "first", {"text": "hello", "many": [1, {"deep": None}], "large": 2**70})
    kept = await store.aget(NOTES, "first")
    assert kept and kept.value == {"text": "hello", "many": [1, {"deep": None}], "large": 2**70}
    assert (kept.namespace, kept.key) == (NOTES, "first")
    await store.aput(NOTES, "first", {"text": "changed"})
    changed = await store.aget(NOTES, "first")
    assert changed and changed.value == {"text": "changed"}
    assert changed.created_at == kept.created_at and changed.updated_at > kept.updated_at
    await store.adelete(NOTES, "first")
    assert await store.aget(NOTES, "first") is None


async def test_items_of_two_callers_never_meet(pool: Pool) -> None:
    stores = Stores(pool, semantic=LETTERS)
    for caller in (LOCAL, SOMEBODY_ELSE, ANOTHER_COMPANY):
        await stores.of(caller).aput(NOTES, "same", {"text": f"of {caller.organisation} {caller.owner}"})
    await stores.of(SOMEBODY_ELSE).aput(("secret",), "only", {"text": "of somebody else"})
    mine = stores.of(LOCAL)
    assert (await mine.aget(NOTES, "same")).value == {"text": "of local local"}  # type: ignore[union-attr]
    assert await mine.aget(("secret",), "only") is None
    assert [item.value["text"] for item in await mine.asearch(())] == ["of local local"]
    assert [item.value["text"] for item in await mine.asearch((), query="of somebody else")] == ["of local local"]
    assert await mine.alist_namespaces() == [NOTES]
    await mine.adelete(("secret",), "only")
    await mine.adelete(NOTES, "same")
    assert await stores.of(SOMEBODY_ELSE).aget(("secret",), "only")
    assert await stores.of(ANOTHER_COMPANY).aget(NOTES, "same")


async def test_what_a_handler_decided_about_other_objects_does_not_widen_a_store(pool: Pool) -> None:
    await Stores(pool).of(SOMEBODY_ELSE).aput(NOTES, "theirs", {})
    everybody = Caller("local", "local", shared=True, must='{"team": "red"}')
    assert await Stores(pool).of(everybody).asearch(()) == []
    await Stores(pool).of(everybody).aput(NOTES, "mine", {})
    assert await keys(Stores(pool).of(LOCAL)) == ["mine"]


async def test_a_batch_is_one_transaction_in_its_order(store: CallerStore) -> None:
    done = await store.abatch(
        [
            PutOp(NOTES, "a", {"n": 1}),
            GetOp(NOTES, "a"),
            PutOp(NOTES, "a", {"n": 2}),
            SearchOp(NOTES),
            ListNamespacesOp(),
            PutOp(NOTES, "a", None),
            GetOp(NOTES, "a"),
        ]
    )
    assert done[1].value == {"n": 1}  # type: ignore[union-attr]
    assert [item.value for item in done[3]] == [{"n": 2}]  # type: ignore[union-attr]
    assert done[4:] == [[NOTES], None, None]
    with pytest.raises(InvalidRequest):
        await store.abatch([PutOp(NOTES, "b", {}), PutOp(NOTES, "c", {"text": "nul \0"})])
    assert await keys(store) == []


async def test_a_node_that_is_no_coroutine_uses_the_store_from_its_thread(store: CallerStore) -> None:
    def work() -> Any:
        store.put(NOTES, "sync", {"n": 1})
        return store.get(NOTES, "sync")

    assert (await asyncio.to_thread(work)).value == {"n": 1}
    with pytest.raises(RuntimeError, match="await"):
        store.get(NOTES, "sync")


@pytest.mark.parametrize("namespace", [(), ("langgraph", "x"), ("a.b",), ("",), ("a", "")])
async def test_a_namespace_that_cannot_be_one_is_refused(store: CallerStore, namespace: tuple[str, ...]) -> None:
    with pytest.raises(InvalidNamespaceError):
        await store.aput(namespace, "key", {})


@pytest.mark.parametrize(
    ("namespace", "key", "value", "ttl", "message"),
    [
        (NOTES, "k" * 1025, {}, None, "key is longer"),
        (("n" * 1025,), "key", {}, None, "namespace is longer"),
        (NOTES, "nul\0", {}, None, "NUL"),
        (NOTES, "key", {"text": "nul\0"}, None, "NUL"),
        (NOTES, "key", {"text": "x" * (caller_store.MAX_VALUE_BYTES + 1)}, None, "at most"),
        (NOTES, "key", {}, 0, "ttl"),
        (NOTES, "key", {}, 1e300, "ttl"),
    ],
)
async def test_what_cannot_be_stored_is_refused(
    store: CallerStore, namespace: tuple[str, ...], key: str, value: dict[str, Any], ttl: float | None, message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        await store.aput(namespace, key, value, ttl=ttl)


async def test_a_value_that_is_not_json_raises_as_langgraphs_own_store_does(store: CallerStore) -> None:
    with pytest.raises(TypeError):
        await store.aput(NOTES, "key", {"object": object()})


# -- finding -------------------------------------------------------------------------------------------------------


async def test_a_search_sees_a_namespace_and_all_below_it_last_changed_first(store: CallerStore) -> None:
    for namespace in (("a",), ("a", "b"), ("a", "b", "c"), ("ab",), ("a-b",), ("a/b",), ("A",), ("a%",), ("a_",)):
        await store.aput(namespace, ".".join(namespace), {})
    assert await keys(store, namespace=("a",)) == ["a.b.c", "a.b", "a"]
    assert await keys(store, namespace=("a", "b")) == ["a.b.c", "a.b"]
    assert await keys(store, namespace=("a%",)) == ["a%"]
    assert len(await keys(store, namespace=(), limit=100)) == 9
    assert await keys(store, namespace=("a",), limit=1, offset=1) == ["a.b"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"kind": "note"}, "ab"),
        ({"kind": {"$eq": "note"}}, "ab"),
        ({"kind": {"$ne": "note"}}, "cd"),
        ({"score": {"$gt": 9}}, "b"),
        ({"score": {"$gte": 9}}, "ab"),
        ({"score": {"$lt": 10}}, "ac"),
        ({"score": {"$lte": 9, "$gt": 2}}, "a"),
        ({"score": {"$gt": "1"}}, ""),
        ({"kind": {"$gt": "m"}}, "abc"),
        ({"author": {"name": "Ann"}}, "a"),
        ({"author": {"age": {"$gte": 40}}}, "b"),
        ({"tags": ["x", "y"]}, "a"),
        ({"missing": None}, "abcd"),
        ({"kind": "note", "score": 10}, "b"),
        ({"a'b\"%s{}": 1}, "d"),
        ({}, "abcd"),
    ],
)
async def test_a_filter_compares_what_values_hold(store: CallerStore, asked: dict[str, Any], found: str) -> None:
    await store.aput(NOTES, "a", {"kind": "note", "score": 9, "author": {"name": "Ann"}, "tags": ["x", "y"]})
    await store.aput(NOTES, "b", {"kind": "note", "score": 10, "author": {"name": "Bob", "age": 41}})
    await store.aput(NOTES, "c", {"kind": "task", "score": 2})
    await store.aput(NOTES, "d", {"a'b\"%s{}": 1})
    assert "".join(sorted(await keys(store, filter=asked))) == found


@pytest.mark.parametrize("asked", [{"a": {"$regex": "x"}}, {"a": {"b": {"$in": [1]}}}, {f"k{n}": n for n in range(101)}, {"a\0": 1}])
async def test_a_filter_that_is_not_known_is_refused(store: CallerStore, asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="filter"):
        await store.asearch((), filter=asked)


async def test_namespaces_are_listed_by_patterns_and_cut_to_a_depth(store: CallerStore) -> None:
    given = [("users", "1", "notes"), ("users", "2", "notes"), ("users", "2", "tasks", "old"), ("teams", "notes"), ("users~",)]
    for namespace in given:
        await store.aput(namespace, "item", {})
    assert await store.alist_namespaces() == sorted(given)
    assert await store.alist_namespaces(prefix=("users",)) == sorted(given)[1:4]
    assert await store.alist_namespaces(prefix=("users", "*", "notes")) == given[:2]
    assert await store.alist_namespaces(suffix=("notes",)) == [given[3], *given[:2]]
    assert await store.alist_namespaces(suffix=("*", "old")) == [given[2]]
    assert await store.alist_namespaces(prefix=("users",), suffix=("notes",), max_depth=2) == [("users", "1"), ("users", "2")]
    assert await store.alist_namespaces(max_depth=1) == [("teams",), ("users",), ("users~",)]
    assert await store.alist_namespaces(limit=1, offset=1) == [sorted(given)[1]]
    assert await store.alist_namespaces(prefix=("a", "b", "c", "d", "e")) == []
    with pytest.raises(InvalidRequest, match="match_type"):
        await store.abatch([ListNamespacesOp((MatchCondition("middle", ("a",)),))])  # type: ignore[arg-type]


async def test_without_an_embedder_a_query_orders_by_words_shared(store: CallerStore) -> None:
    await store.aput(NOTES, "cats", {"text": "cats like milk & fish"})
    await store.aput(NOTES, "dogs", {"text": "dogs like bones"})
    await store.aput(NOTES, "cars", {"text": "cars need oil"})
    found = await store.asearch((), query="what do cats like?")
    assert [item.key for item in found] == ["cats", "dogs", "cars"]
    assert found[0].score and found[1].score and found[0].score > found[1].score and found[2].score is None
    for query in ("'", "&", "a & !b | (", "\\", "\0", ":*", "http://x/?a=1&b=2"):
        assert len(await store.asearch((), query=query)) == 3


# -- by meaning ----------------------------------------------------------------------------------------------------


async def test_a_query_ranks_by_the_cosine_of_the_nearest_text(semantic: CallerStore) -> None:
    await semantic.aput(NOTES, "abba", {"text": "abba", "kind": "word"})
    await semantic.aput(NOTES, "zoo", {"text": "zoo", "kind": "word"})
    await semantic.aput(NOTES, "both", {"text": "abz", "kind": "mixed"})
    found = await semantic.asearch((), query="baab")
    assert [item.key for item in found] == ["abba", "both", "zoo"]
    assert found[0].score == pytest.approx(1.0) and found[0].score > found[1].score > found[2].score  # type: ignore[operator]
    assert await keys(semantic, query="baab", filter={"kind": "mixed"}) == ["both"]
    assert await keys(semantic, query="baab", limit=1, offset=1) == ["both"]
    assert await keys(semantic, query="baab", namespace=("other",)) == []


async def test_a_put_says_what_an_item_is_found_by(semantic: CallerStore) -> None:
    await semantic.aput(NOTES, "default", {"text": "aaa"})
    await semantic.aput(NOTES, "never", {"text": "aaa"}, index=False)
    await semantic.aput(NOTES, "other", {"title": {"short": "zzz"}, "text": "aaa"}, index=["title.short"])
    await semantic.aput(
        NOTES, "list", {"messages": [{"content": "qqq"}, {"content": "xxx"}, {"content": ""}]}, index=["messages[*].content"]
    )
    await semantic.aput(NOTES, "whole", {"w": "www"}, index=["$"])
    await semantic.aput(NOTES, "nothing", {"else": 1})
    assert (await keys(semantic, query="aaa"))[0] == "default"
    assert (await keys(semantic, query="zzz"))[0] == "other"
    assert (await keys(semantic, query="xxx"))[0] == (await keys(semantic, query="qqq"))[0] == "list"
    assert (await keys(semantic, query="www"))[0] == "whole"
    assert sorted(await keys(semantic, query="aaa")) == ["default", "list", "other", "whole"]
    assert len(await keys(semantic)) == 6


async def test_a_changed_item_is_found_by_what_it_is_now(semantic: CallerStore) -> None:
    await semantic.aput(NOTES, "item", {"text": "aaa"})
    await semantic.aput(NOTES, "other", {"text": "aab"})
    await semantic.aput(NOTES, "item", {"text": "zzz"})
    assert await keys(semantic, query="aaa") == ["other", "item"]
    await semantic.aput(NOTES, "item", {"text": "aaa"}, index=False)
    assert await keys(semantic, query="aaa") == ["other"]


async def test_vectors_of_another_model_are_not_compared(pool: Pool, semantic: CallerStore) -> None:
    await semantic.aput(NOTES, "old", {"text": "aaa"})
    renamed = Stores(pool, semantic=Semantic(Letters(), "letters-2", 26, ("text",))).of(LOCAL)
    assert await keys(renamed, query="aaa") == []


async def test_a_store_of_many_vectors_is_searched_through_a_graph_and_finds_the_same(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wide(Letters):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [[*vector, *[0.0] * (384 - 26)] for vector in super().embed_documents(texts)]

    store = Stores(pool, semantic=Semantic(Wide(), "wide", 384)).of(LOCAL)
    await store.abatch([PutOp(NOTES, f"{number}", {"text": "abcdefghij"[: 1 + number % 10] * (1 + number // 10)}) for number in range(60)])
    await Stores(pool, semantic=Semantic(Wide(), "wide", 384)).of(SOMEBODY_ELSE).aput(NOTES, "theirs", {"text": "abc"})
    exact = await store.asearch((), query="abc", limit=5, filter={"text": {"$ne": "abc"}})
    monkeypatch.setattr(caller_store, "EXACT_UP_TO", 10)
    walked = await store.asearch((), query="abc", limit=5, filter={"text": {"$ne": "abc"}})
    assert [item.score for item in walked] == pytest.approx([item.score for item in exact], abs=1e-6)
    assert len(walked) == 5 and "theirs" not in await keys(store, query="abc", limit=100)


async def test_our_own_model_finds_what_means_the_same(pool: Pool) -> None:
    store = Stores(pool, semantic=Semantic(OwnEmbeddings(documents.embedder), "own", DIMENSIONS, ("text",))).of(LOCAL)
    await store.aput(NOTES, "food", {"text": "She never eats meat."})
    await store.aput(NOTES, "car", {"text": "The engine needs new oil."})
    assert await keys(store, query="Is she a vegetarian?") == ["food", "car"]


async def test_a_model_that_cannot_be_fetched_is_away_and_no_fault_of_the_request(pool: Pool) -> None:
    async def load() -> Embedder:
        raise DownloadError("no way out", hint="connect once")

    store = Stores(pool, semantic=Semantic(OwnEmbeddings(load), "own", DIMENSIONS)).of(LOCAL)
    with pytest.raises(ModelUnavailable, match="no way out") as away:
        await store.aput(NOTES, "item", {"text": "a"})
    assert away.value.hint == "connect once"
    await store.aput(NOTES, "item", {"text": "a"}, index=False)


async def test_an_embedder_that_fails_or_lies_stores_nothing(pool: Pool) -> None:
    class Away(Letters):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            raise ConnectionError("secret address")

    away = Stores(pool, semantic=Semantic(Away(), "away", 26)).of(LOCAL)
    with pytest.raises(ModelUnavailable) as failed:
        await away.aput(NOTES, "item", {"text": "a"})
    assert "secret" not in str(failed.value)
    with pytest.raises(ConfigError, match="26 dimensions, 27"):
        await Stores(pool, semantic=Semantic(Letters(), "letters", 27)).of(LOCAL).aput(NOTES, "item", {"text": "a"})
    with pytest.raises(InvalidRequest, match="at most"):
        await Stores(pool, semantic=LETTERS).of(LOCAL).aput(NOTES, "item", {"many": ["x"] * 300}, index=["many[*]"])
    assert await Stores(pool).of(LOCAL).asearch(()) == []


async def test_puts_of_a_batch_are_embedded_together_and_the_last_of_a_name_wins(pool: Pool) -> None:
    calls: list[list[str]] = []

    class Counting(Letters):
        async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
            calls.append(texts)
            return self.embed_documents(texts)

    store = Stores(pool, semantic=Semantic(Counting(), "counting", 26, ("text",))).of(LOCAL)
    puts = [PutOp(NOTES, key, {"text": text}) for key, text in (("b", "bbb"), ("a", "aaa"), ("b", "zzz"))]
    await store.abatch([*puts, PutOp(NOTES, "c", {"other": 1}), PutOp(NOTES, "d", {"text": "ddd"}, index=[])])
    assert calls == [["bbb", "aaa", "zzz"]]
    assert [(item.key, item.value) for item in await store.asearch((), query="zzz")] == [("b", {"text": "zzz"}), ("a", {"text": "aaa"})]


async def test_puts_at_the_same_time_leave_an_item_with_the_vectors_of_its_value(semantic: CallerStore) -> None:
    names = [f"{number}" for number in range(6)]

    async def write(round_: int) -> None:
        text = chr(ord("a") + round_) * 5
        order = names if round_ % 2 else names[::-1]
        await semantic.abatch([PutOp(NOTES, name, {"text": text}) for name in order])

    await asyncio.gather(*(write(number) for number in range(12)))
    for item in await semantic.asearch((), limit=10):
        found = await semantic.asearch((), query=item.value["text"], limit=10)
        assert next(one.score for one in found if one.key == item.key) == pytest.approx(1.0)


async def test_a_text_without_a_direction_comes_last(pool: Pool) -> None:
    class Zeros(Letters):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [[0.0] * 26 if text == "zero" else vector for text, vector in zip(texts, super().embed_documents(texts), strict=True)]

    store = Stores(pool, semantic=Semantic(Zeros(), "zeros", 26, ("text",))).of(LOCAL)
    await store.aput(NOTES, "zero", {"text": "zero"})
    await store.aput(NOTES, "some", {"text": "abc"})
    assert await keys(store, query="abc") == ["some", "zero"]


# -- time to live --------------------------------------------------------------------------------------------------


async def age(pool: Pool, seconds: float) -> None:
    """Let time pass for everything that expires."""
    async with connection(pool) as conn:
        await conn.execute("UPDATE freehold.store_items SET expires_at = expires_at - %s", (timedelta(seconds=seconds),))


async def expiry(pool: Pool, key: str) -> Any:
    async with connection(pool) as conn:
        row = await (await conn.execute("SELECT expires_at FROM freehold.store_items WHERE key = %s", (key,))).fetchone()
    return row and row["expires_at"]


async def test_an_item_that_expired_is_gone_before_it_is_swept(pool: Pool) -> None:
    stores = Stores(pool, semantic=LETTERS)
    store = stores.of(LOCAL)
    await store.aput(("short",), "short", {"text": "a"}, ttl=1)
    await store.aput(NOTES, "long", {"text": "a"}, ttl=10)
    await store.aput(NOTES, "ever", {"text": "a"})
    await age(pool, 90)
    assert await store.aget(("short",), "short") is None
    assert sorted(await keys(store)) == sorted(await keys(store, query="a")) == ["ever", "long"]
    assert await store.alist_namespaces() == [NOTES]
    assert await stores.sweep() == 1
    assert await stores.sweep() == 0
    assert await expiry(pool, "short") is None


async def test_a_put_over_an_expired_item_makes_a_new_one(pool: Pool, store: CallerStore) -> None:
    await store.aput(NOTES, "item", {"n": 1}, ttl=1)
    old = await store.aget(NOTES, "item")
    await age(pool, 90)
    await store.aput(NOTES, "item", {"n": 2})
    new = await store.aget(NOTES, "item")
    assert old and new and new.created_at > old.created_at


async def test_a_read_lets_an_item_live_anew_where_it_may(pool: Pool) -> None:
    store = Stores(pool, ttl=TTLConfig(refresh_on_read=True, default_ttl=10)).of(LOCAL)
    for key in ("got", "found", "left"):
        await store.aput(NOTES, key, {"key": key})
    await age(pool, 300)
    before = {key: await expiry(pool, key) for key in ("got", "found", "left")}
    await store.aget(NOTES, "got")
    await store.asearch((), filter={"key": "found"})
    await store.aget(NOTES, "left", refresh_ttl=False)
    await store.asearch((), filter={"key": "left"}, refresh_ttl=False)
    after = {key: await expiry(pool, key) for key in before}
    assert after["got"] > before["got"] and after["found"] > before["found"] and after["left"] == before["left"]


async def test_the_default_lifetime_holds_for_puts_that_name_none(pool: Pool) -> None:
    store = Stores(pool, ttl=TTLConfig(refresh_on_read=False, default_ttl=10)).of(LOCAL)
    await store.aput(NOTES, "default", {})
    await store.aput(NOTES, "ever", {}, ttl=None)
    await age(pool, 300)
    before = await expiry(pool, "default")
    assert before and await expiry(pool, "ever") is None
    await store.aget(NOTES, "default")
    assert await expiry(pool, "default") == before
    await store.aget(NOTES, "default", refresh_ttl=True)
    assert await expiry(pool, "default") > before


# -- what was there before -----------------------------------------------------------------------------------------


async def test_items_of_earlier_versions_become_the_local_users(database: Database, pool: Pool) -> None:
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        owner.execute("DROP TABLE freehold.store_vectors, freehold.store_items")
        owner.execute("DELETE FROM freehold.migrations WHERE name = '0014_store.sql'")
        owner.execute(
            "CREATE TABLE freehold.store (prefix text, key text, value jsonb, created_at timestamptz DEFAULT now(),"
            " updated_at timestamptz DEFAULT now(), expires_at timestamptz, ttl_minutes int, PRIMARY KEY (prefix, key));"
            "CREATE TABLE freehold.store_migrations (v integer PRIMARY KEY);"
            """INSERT INTO freehold.store (prefix, key, value) VALUES ('users.1', 'name', '{"is": "Ann"}')"""
        )
    assert await migrate(database.owner_url, app_role="freehold_app") == ["0014_store.sql"]
    item = await Stores(pool).of(LOCAL).aget(("users", "1"), "name")
    assert item and item.value == {"is": "Ann"}
    async with connection(pool) as conn:
        row = await (await conn.execute("SELECT to_regclass('freehold.store') AS old")).fetchone()
    assert row and row["old"] is None
