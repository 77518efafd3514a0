"""Finding threads: only the caller's, in every order, whatever a client writes into a filter."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freehold.core.caller import Caller
from freehold.core.errors import InvalidRequest
from freehold.core.extract import parse_paths
from freehold.storage import thread_search
from freehold.storage.pool import Pool, as_caller, create_pool
from freehold.storage.thread_search import SORT_COLUMNS, ThreadFilter, ThreadSearch
from freehold.storage.threads import Threads

ANNA, BOB, CARL = Caller("acme", "anna"), Caller("acme", "bob"), Caller("other", "anna")

#: What a search may hold: JSON without NUL, which no request carries.
words = st.text(st.characters(blacklist_characters="\x00", blacklist_categories=["Cs"]), max_size=20) | st.sampled_from(
    ["'; DROP TABLE freehold.threads; --", "%s", "%(owner)s", "$1", "{}", '"', "\\", "' OR '1'='1"]
)
documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
filters = st.dictionaries(words, documents, max_size=3)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with create_pool(database_url, max_size=4) as pool:
        yield pool


async def thread(pool: Pool, caller: Caller, metadata: dict[str, Any], values: Any = None, status: str = "idle") -> UUID:
    made = await Threads(pool).create(caller, metadata=metadata)
    async with pool.connection() as conn:
        await conn.execute(
            'UPDATE freehold.threads SET "values" = %s, status = %s, status_at_rest = %s WHERE thread_id = %s',
            (json.dumps(values) if values is not None else None, status, "idle" if status == "busy" else status, made.thread_id),
        )
    return made.thread_id


async def found(pool: Pool, caller: Caller, **wanted: Any) -> set[UUID]:
    return {item.thread_id for item in (await ThreadSearch(pool).page(caller, ThreadFilter(**wanted))).threads}


async def test_nobody_finds_or_counts_what_is_anothers_whatever_they_ask_for(pool: Pool) -> None:
    secret = await thread(pool, ANNA, {"key": "a"}, {"topic": "secret", "deep": {"x": 1}}, "interrupted")
    wanted: list[dict[str, Any]] = [
        {},
        {"metadata": {"key": "a"}},
        {"values": {"topic": "secret"}},
        {"values": {"deep": {"x": 1}}},
        {"status": "interrupted"},
        {"ids": [secret]},
        *({"sort_by": column, "sort_order": order} for column in SORT_COLUMNS for order in ("asc", "desc")),
    ]
    for ask in wanted:
        assert await found(pool, ANNA, **ask) == {secret}
        for stranger in (BOB, CARL):
            assert await found(pool, stranger, **ask) == set()
            assert await ThreadSearch(pool).count(stranger, ThreadFilter(**ask)) == 0


async def test_rules_of_the_project_narrow_or_widen_what_is_found(pool: Pool) -> None:
    mine, theirs = await thread(pool, ANNA, {"team": "red"}), await thread(pool, BOB, {"team": "blue"})
    assert await found(pool, Caller("acme", "anna", shared=True)) == {mine, theirs}
    assert await found(pool, Caller("acme", "anna", shared=True, must='{"team": "blue"}')) == {theirs}
    assert await found(pool, Caller("acme", "anna", must='{"team": "blue"}')) == set()
    assert await found(pool, Caller("other", "anna", shared=True)) == set()


async def test_the_look_into_the_indexes_knows_its_caller_from_the_transaction_alone(pool: Pool) -> None:
    await thread(pool, ANNA, {"key": "a"})
    look = "SELECT * FROM freehold.find_threads('{}', '{}', '{}', NULL, NULL, 'created_at', true, false, 10, 0)"
    async with pool.connection() as conn:
        assert await (await conn.execute(look)).fetchall() == []  # nobody's transaction
    async with as_caller(pool, BOB) as conn:
        assert await (await conn.execute(look)).fetchall() == []


async def test_values_are_found_at_the_top_and_below(pool: Pool) -> None:
    wanted = await thread(pool, ANNA, {}, {"topic": "billing", "n": 3, "ok": True, "deep": {"tags": ["a", "b"]}, "long": "x" * 300})
    await thread(pool, ANNA, {}, {"topic": "other", "n": 4, "ok": False, "deep": {"tags": ["c"]}, "long": "y"})
    await thread(pool, ANNA, {}, ["a list"])
    for values in (
        {"topic": "billing"},
        {"n": 3.0},
        {"ok": True},
        {"deep": {"tags": ["b"]}},
        {"long": "x" * 300},
        {"topic": "billing", "deep": {"tags": ["a"]}},
    ):
        assert await found(pool, ANNA, values=values) == {wanted}
    assert await found(pool, ANNA, values={"topic": None}) == set()


async def test_the_total_counts_on_behind_the_page_and_a_page_behind_the_end_is_empty(pool: Pool) -> None:
    for number in range(5):
        await thread(pool, ANNA, {"n": number})
    search = ThreadSearch(pool)
    assert (await search.page(ANNA, ThreadFilter(limit=2))).total == 5
    assert (await search.page(ANNA, ThreadFilter(limit=5))).total == 5
    behind = await search.page(ANNA, ThreadFilter(limit=2, offset=8))
    assert (behind.threads, behind.total) == ([], 5)


async def test_pages_are_the_same_whether_few_match_or_many(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(12):
        await thread(pool, ANNA, {"even": number % 2 == 0, "n": number})
    for beyond in (0, 1000):  # 0: as if there were too many to be counted
        monkeypatch.setattr(thread_search, "COUNTED_BEYOND", beyond)
        for column in SORT_COLUMNS:
            pages = [ThreadFilter(metadata={"even": True}, sort_by=column, limit=2, offset=offset) for offset in (0, 2, 4, 6)]
            found = [item.thread_id for page in pages for item in (await ThreadSearch(pool).page(ANNA, page)).threads]
            assert (len(found), len(set(found))) == (6, 6)
            whole = await ThreadSearch(pool).page(ANNA, ThreadFilter(metadata={"even": True}, sort_by=column))
            assert [item.thread_id for item in whole.threads] == found


async def test_values_that_were_not_asked_for_are_not_read_but_can_be_looked_into(pool: Pool) -> None:
    await thread(pool, ANNA, {}, {"topic": "billing"})
    paths = parse_paths({"topic": "values.topic"})
    page = await ThreadSearch(pool).page(ANNA, ThreadFilter(extract=paths, with_values=False))
    assert (page.threads[0].values, page.extracted) == (None, [{"topic": "billing"}])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(metadata=filters, values=filters, column=st.sampled_from(sorted(SORT_COLUMNS)) | words, key=words)
async def test_filters_are_data_whatever_they_hold(
    pool: Pool, metadata: dict[str, Any], values: dict[str, Any], column: str, key: str
) -> None:
    wanted = ThreadFilter(metadata=metadata, values=values, sort_by=column)
    if column not in SORT_COLUMNS:
        with pytest.raises(InvalidRequest, match="sort_by"):
            await ThreadSearch(pool).page(BOB, wanted)
        return
    page = await ThreadSearch(pool).page(BOB, wanted)
    assert (page.threads, page.total) == ([], 0)
    try:
        paths = parse_paths({"x": f"metadata.{key}"})
    except InvalidRequest:
        return
    made = await Threads(pool).create(CARL, metadata={key: "found"})
    page = await ThreadSearch(pool).page(CARL, ThreadFilter(ids=[made.thread_id], extract=paths))
    assert page.extracted == [{"x": "found"}] or len(paths["x"].steps) > 1
