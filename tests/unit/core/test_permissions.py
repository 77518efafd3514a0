"""Scopes and what they allow."""

from __future__ import annotations

import pytest

from freehold.core.permissions import ACTIONS, GROUPS, allows, checked, permissions_of

ALL = [(resource, action) for resource, actions in ACTIONS.items() for action in actions]


def may(*scopes: str) -> set[tuple[str, str]]:
    """All that a credential with these scopes may do."""
    return {pair for pair in ALL if allows(permissions_of(scopes), *pair)}


def test_without_scopes_nothing_is_allowed() -> None:
    assert may() == set()


def test_admin_may_do_everything() -> None:
    assert may("admin") == set(ALL)


def test_write_is_everything_but_what_administers() -> None:
    assert set(ALL) - may("write") == {("audit", "read")}


def test_read_changes_nothing() -> None:
    actions = {action for _, action in may("read")}
    assert actions == {"read", "search", "get", "list_namespaces"}
    assert ("audit", "read") not in may("read")


def test_run_may_talk_with_agents_but_delete_nothing() -> None:
    assert may("run") - may("read") == {("threads", "create"), ("threads", "create_run"), ("threads", "update")}


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [
        ("threads:read", {("threads", "read")}),
        ("store:*", {("store", action) for action in ACTIONS["store"]}),
        ("*:delete", {(resource, "delete") for resource in ("assistants", "threads", "crons", "store")}),
        ("audit:read", {("audit", "read")}),
        ("*:*", set(ALL) - {("audit", "read")}),
    ],
)
def test_a_permission_covers_what_it_names(scope: str, allowed: set[tuple[str, str]]) -> None:
    assert may(scope) == allowed


def test_scopes_add_up() -> None:
    assert may("read", "store:put") == may("read") | {("store", "put")}


@pytest.mark.parametrize("scope", [*GROUPS, "threads:read", "threads:*", "*:search", "*:*"])
def test_known_scopes_are_taken(scope: str) -> None:
    assert checked(scope) == scope


@pytest.mark.parametrize(
    ("scope", "nearest"),
    [("thread:read", "threads:read"), ("store:gett", "store:get"), ("reed", "read"), ("*:fly", None), ("*", None), ("", None)],
)
def test_an_unknown_scope_is_refused_with_the_nearest_one(scope: str, nearest: str | None) -> None:
    with pytest.raises(ValueError, match="expected read, run, write, admin") as refused:
        checked(scope)
    if nearest:
        assert f'did you mean "{nearest}"?' in str(refused.value)
