"""The audit log in PostgreSQL: added to, read within an organisation, and changed by nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from freehold.core.caller import Caller
from freehold.storage.audit import AuditEntry, AuditFilter, AuditLog
from freehold.storage.pool import Pool, as_caller, create_pool

ADA, BOB, EVE = Caller("acme", "ada"), Caller("acme", "bob"), Caller("other", "eve")


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with create_pool(database_url, max_size=3) as opened:
        yield opened


@pytest.fixture
def audit(pool: Pool) -> AuditLog:
    return AuditLog(pool)


def entry(caller: Caller | None = ADA, action: str = "threads.delete", *, days_ago: float = 0, **more: Any) -> AuditEntry:
    values = {
        "at": datetime.now(UTC) - timedelta(days=days_ago),
        "organisation": caller.organisation if caller else "",
        "owner": caller.owner if caller else "",
        "credential": "key:1" if caller else "",
        "action": action,
        "objects": {"thread_id": "t1"},
        "status": 204,
        "request_id": "r1",
        "address": "127.0.0.1",
        **more,
    }
    return AuditEntry(**values)


async def test_what_was_noted_is_read_back_newest_first(audit: AuditLog) -> None:
    first, second = entry(), entry(action="threads.create", status=403, objects={})
    await audit.append([first, second])
    found = await audit.list(ADA, AuditFilter(), limit=10)
    assert [(item.action, item.status, item.objects) for item in found] == [
        ("threads.create", 403, {}),
        ("threads.delete", 204, {"thread_id": "t1"}),
    ]
    assert found[1].at == first.at and found[0].entry_id > found[1].entry_id


async def test_an_organisation_sees_all_of_its_own_and_nothing_else(audit: AuditLog) -> None:
    await audit.append([entry(ADA), entry(BOB), entry(EVE), entry(None)])
    assert [item.owner for item in await audit.list(ADA, AuditFilter(), limit=10)] == ["bob", "ada"]
    assert [item.owner for item in await audit.list(EVE, AuditFilter(), limit=10)] == ["eve"]
    assert [item.owner for item in await audit.list(Caller("", ""), AuditFilter(), limit=10)] == [""]
    assert [item.owner for item in await audit.list_all(AuditFilter(), limit=10)] == ["", "eve", "bob", "ada"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (AuditFilter(owner="bob"), ["store.put"]),
        (AuditFilter(action="threads"), ["threads.create", "threads.delete"]),
        (AuditFilter(action="threads.delete"), ["threads.delete"]),
        (AuditFilter(action="thr"), []),
        (AuditFilter(action="%"), []),
        (AuditFilter(since=timedelta(days=5)), ["store.put", "threads.create"]),
        (AuditFilter(owner="' OR true --"), []),
    ],
)
async def test_entries_are_found_by_owner_action_and_age(audit: AuditLog, wanted: AuditFilter, found: list[str]) -> None:
    await audit.append([entry(days_ago=9), entry(action="threads.create"), entry(BOB, "store.put")])
    assert [item.action for item in await audit.list(ADA, wanted, limit=10)] == found
    assert [item.action for item in await audit.list_all(wanted, limit=10)] == found


async def test_pages_follow_each_other(audit: AuditLog) -> None:
    await audit.append([entry(action=f"threads.{number}") for number in range(5)])
    pages = [[item.action for item in await audit.list(ADA, AuditFilter(), limit=2, offset=offset)] for offset in (0, 2, 4)]
    assert pages == [["threads.4", "threads.3"], ["threads.2", "threads.1"], ["threads.0"]]


@pytest.mark.parametrize(
    "statement",
    ["UPDATE freehold.audit_log SET owner = 'bob'", "DELETE FROM freehold.audit_log", "TRUNCATE freehold.audit_log"],
)
async def test_neither_the_server_nor_a_request_may_change_what_was_noted(audit: AuditLog, pool: Pool, statement: Any) -> None:
    await audit.append([entry()])
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with pool.connection() as conn:
            await conn.execute(statement)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with as_caller(pool, ADA) as conn:
            await conn.execute(statement)


async def test_a_request_may_not_add_to_it_nor_read_keys(pool: Pool) -> None:
    statement = (
        "INSERT INTO freehold.audit_log (at, organisation, owner, credential, action, objects, status, request_id, address)"
        " VALUES (now(), 'acme', 'ada', '', 'x', '{}', 200, '', '')"
    )
    for forbidden in (statement, "SELECT key_hash FROM freehold.api_keys"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with as_caller(pool, ADA) as conn:
                await conn.execute(forbidden)  # type: ignore[arg-type]


async def test_old_entries_are_forgotten_and_those_of_the_last_day_stay_whatever_is_asked(audit: AuditLog) -> None:
    await audit.append([entry(days_ago=40), entry(days_ago=2), entry(days_ago=0.5)])
    assert await audit.forget(timedelta(days=30)) == 1
    assert await audit.forget(timedelta()) == 1
    assert len(await audit.list_all(AuditFilter(), limit=10)) == 1
    assert await audit.forget(timedelta(days=-400)) == 0


async def test_a_request_may_not_forget(pool: Pool) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with as_caller(pool, ADA) as conn:
            await conn.execute("SELECT freehold.forget_audit('1 day')")
