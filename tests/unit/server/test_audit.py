"""What happens to audit entries on their way into the database, and what the middleware makes of a request."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from freehold.core.caller import Caller
from freehold.core.errors import StorageUnavailable
from freehold.server import audit
from freehold.server.audit import Audit, AuditWriter
from freehold.storage.audit import AuditEntry
from freehold.telemetry.metrics import AUDIT_LOST

ADA = Caller("acme", "ada", credential="key:1")


@dataclass
class Log:
    """In the place of the table, where it must fail at will."""

    stored: list[AuditEntry] = field(default_factory=list)
    failure: Exception | None = None
    refused: str | None = None
    tried: int = 0

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        self.tried += 1
        if self.failure:
            raise self.failure
        if any(entry.action == self.refused for entry in entries):
            raise ValueError("no column takes it")
        self.stored += entries


def entry(action: str = "threads.delete", owner: str = "ada") -> AuditEntry:
    return AuditEntry(datetime.now(UTC), "acme", owner, "key:1", action, {}, 200, "r", "127.0.0.1")


def lost(reason: str) -> float:
    return float(AUDIT_LOST.labels(reason)._value.get())


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "GATHER_SECONDS", 0.01)
    monkeypatch.setattr(audit, "RETRY_SECONDS", 0.01)


async def test_entries_are_stored_in_order_and_in_batches() -> None:
    log = Log()
    async with AuditWriter(log) as writer:  # type: ignore[arg-type]
        for number in range(audit.BATCH + 5):
            writer.add(entry(str(number)))
    assert [item.action for item in log.stored] == [str(number) for number in range(audit.BATCH + 5)]
    assert log.tried == 2


async def test_while_the_database_is_away_entries_wait() -> None:
    log = Log(failure=StorageUnavailable())
    async with AuditWriter(log) as writer:  # type: ignore[arg-type]
        writer.add(entry("first"))
        while log.tried < 3:
            await asyncio.sleep(0.005)
        log.failure = None
        writer.add(entry("second"))
    assert [item.action for item in log.stored] == ["first", "second"]


async def test_what_does_not_fit_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MOST_WAITING", 3)
    log, before = Log(), lost("full")
    writer = AuditWriter(log)  # type: ignore[arg-type]
    for number in range(5):
        writer.add(entry(str(number)))
    async with writer:
        pass
    assert lost("full") == before + 2 and len(log.stored) == 3


async def test_strangers_cannot_fill_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "STRANGERS_PER_SECOND", 0.0)
    log, before = Log(), lost("strangers")
    async with AuditWriter(log) as writer:  # type: ignore[arg-type]
        for _ in range(int(audit.STRANGERS_AT_ONCE) + 7):
            writer.add(entry(owner=""))
        writer.add(entry(owner="ada"))
    assert lost("strangers") == before + 7
    assert log.stored[-1].owner == "ada"


async def test_an_entry_that_no_table_takes_is_dropped_and_not_its_neighbours() -> None:
    log, before = Log(refused="bad"), lost("failed")
    async with AuditWriter(log) as writer:  # type: ignore[arg-type]
        for action in ("first", "bad", "second"):
            writer.add(entry(action))
    assert [item.action for item in log.stored] == ["first", "second"]
    assert lost("failed") == before + 1


async def test_what_is_left_when_the_server_stops_without_its_database_is_counted() -> None:
    before = lost("stopped")
    async with AuditWriter(Log(failure=StorageUnavailable())) as writer:  # type: ignore[arg-type]
        writer.add(entry())
    assert lost("stopped") == before + 1


class Added(list[AuditEntry]):
    """In the place of a writer."""

    add = list.append


async def asked(
    messages: Sequence[Message],
    *,
    kind: str = "http",
    state: dict[str, Any] | None = None,
    error: Exception | None = None,
    about: dict[str, str] | None = None,
    **more: Any,
) -> list[AuditEntry]:
    """What is noted of a request that sets `state` and is answered with `messages`."""
    added = Added()
    sent: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["request_id"] = "r-1"
        scope["state"].update(state or {})
        audit.about(**(about or {}))
        for message in messages:
            await send(message)
        if error:
            raise error

    async def send(message: Any) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": kind,
        "app": SimpleNamespace(state=SimpleNamespace(audit=added)),
        "path": "/threads/1",
        "method": "DELETE",
        "client": ("10.0.0.9", 4711),
        **more,
    }
    try:
        await Audit(app)(scope, None, send)  # type: ignore[arg-type]
    except ValueError:
        assert error
    assert sent == list(messages)
    return added


def answer(status: int) -> Message:
    return {"type": "http.response.start", "status": status, "headers": []}


async def test_a_change_is_noted_as_its_answer_begins() -> None:
    state = {"caller": ADA, "action": ("threads", "delete"), "objects": {"thread_id": "t"}}
    (noted,) = await asked([answer(204), {"type": "http.response.body"}], state=state)
    assert (noted.organisation, noted.owner, noted.credential) == ("acme", "ada", "key:1")
    assert (noted.action, noted.objects, noted.status) == ("threads.delete", {"thread_id": "t"}, 204)
    assert (noted.request_id, noted.address) == ("r-1", "10.0.0.9")


@pytest.mark.parametrize(("status", "action"), [(200, ("threads", "read")), (404, ("threads", "search")), (200, None), (404, None)])
async def test_reading_is_not_noted(status: int, action: tuple[str, str] | None) -> None:
    assert await asked([answer(status)], state={"caller": ADA, "action": action}) == []


@pytest.mark.parametrize("status", [401, 403, 429])
async def test_refusals_are_noted_whatever_was_asked(status: int) -> None:
    (noted,) = await asked([answer(status)], state={"action": ("threads", "read")})
    assert (noted.action, noted.status, noted.owner) == ("threads.read", status, "")
    (noted,) = await asked([answer(status)])
    assert noted.action == "DELETE /threads/1"


async def test_a_request_that_fails_inside_is_noted_with_500() -> None:
    (noted,) = await asked([], state={"caller": ADA, "action": ("threads", "delete")}, error=ValueError())
    assert noted.status == 500
    (noted,) = await asked([answer(200)], state={"caller": ADA, "action": ("threads", "delete")}, error=ValueError())
    assert noted.status == 200


async def test_what_a_route_says_it_was_about_is_noted_and_stays_with_its_request() -> None:
    thread, run = "0199a2d1-0000-7000-8000-000000000001", "0199a2d1-0000-7000-8000-000000000002"
    made = {"thread_id": thread, "run_id": run}
    (noted,) = await asked([answer(200)], state={"caller": ADA, "action": ("threads", "create_run")}, about=made)
    assert noted.objects == {"thread_id": thread, "run_id": run}
    (noted,) = await asked([answer(200)], state={"caller": ADA, "action": ("threads", "create_run")})
    assert noted.objects == {}
    audit.about(thread_id="outside of any request")


async def test_a_websocket_is_noted_with_how_it_began() -> None:
    state = {"caller": ADA, "action": ("threads", "create_run")}
    (taken,) = await asked([{"type": "websocket.accept"}, {"type": "websocket.close"}], kind="websocket", state=state)
    (refused,) = await asked([{"type": "websocket.close"}], kind="websocket", state={"action": ("threads", "read")})
    assert (taken.status, refused.status) == (101, 403)


async def test_without_a_writer_nothing_happens() -> None:
    scope = {"app": SimpleNamespace(state=SimpleNamespace(audit=None))}
    audit.note(scope, ADA, ("threads", "delete"), {}, 204)


async def test_what_no_column_takes_and_what_is_endless_is_cut() -> None:
    state = {"caller": ADA, "action": ("threads", "delete"), "objects": {"thread_id": "a\x00b\ud800" + "c" * 500}}
    (noted,) = await asked([answer(422)], state=state)
    assert noted.objects["thread_id"].startswith("a?b?c") and len(noted.objects["thread_id"]) <= 200
    (noted,) = await asked([answer(401)], path="/\x1b[31mred")
    assert noted.action == "DELETE /?[31mred"
    odd = Caller("acme", "a\x00\x1b", credential="token:\x00")
    (noted,) = await asked([answer(204)], state={"caller": odd, "action": ("threads", "delete")})
    assert (noted.owner, noted.credential) == ("a??", "token:?")
