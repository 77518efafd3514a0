from __future__ import annotations

import time
from uuid import UUID

from freehold.core.ids import assistant_id, new_id, plain_thread_id


def test_new_ids_are_version_7_and_of_the_rfc_variant() -> None:
    identity = new_id()
    assert (identity.version, identity.variant) == (7, "specified in RFC 4122")


def test_new_ids_carry_their_millisecond() -> None:
    before = time.time_ns() // 1_000_000
    milliseconds = new_id().int >> 80
    assert before <= milliseconds <= time.time_ns() // 1_000_000


def test_new_ids_of_one_millisecond_differ() -> None:
    assert len({new_id() for _ in range(10_000)}) == 10_000


def test_ids_of_a_later_millisecond_sort_after() -> None:
    first = new_id()
    while time.time_ns() // 1_000_000 == first.int >> 80:
        pass
    assert str(new_id()) > str(first)


def test_the_assistant_of_a_graph_has_the_same_id_for_ever() -> None:
    assert assistant_id("assistant") == UUID("97dfc073-8604-5cd3-9c25-2c3b1e1ee3ac")
    assert assistant_id("other") != assistant_id("assistant")


def test_a_thread_name_means_one_thread_for_each_owner() -> None:
    assert plain_thread_id("o", "ada", "test-1") == plain_thread_id("o", "ada", "test-1")
    assert len({plain_thread_id(o, u, "test-1") for o in ("o", "p") for u in ("ada", "bob")}) == 4
