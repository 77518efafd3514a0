"""Event streaming over a WebSocket: commands and events both ways, and who may open one."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from tests.api.serving import serving
from tests.api.streams import AGENTS, SECONDS, Json, new_thread_id
from tests.support.servers import ValkeyServer
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from freehold.storage.api_keys import ApiKeys, generate
from freehold.storage.pool import create_pool


@pytest.fixture(scope="module")
def url(own_database_url: str, valkey: ValkeyServer) -> Iterator[str]:
    with serving(own_database_url, valkey.url, agents=AGENTS, limits={"request_body_mb": 1}) as address:
        yield address


@pytest.fixture(scope="module")
def keyed_url(own_database_url: str, valkey: ValkeyServer) -> Iterator[str]:
    """A server that needs keys."""
    with serving(own_database_url, valkey.url, agents=AGENTS, server={"auth": "keys"}) as address:
        yield address


@pytest.fixture(scope="module")
async def keys(own_database_url: str) -> AsyncIterator[dict[str, str]]:
    """Of two people, and one of the first that may only read."""
    found = {"ada": generate(), "bob": generate(), "reader": generate()}
    async with create_pool(own_database_url, max_size=2) as pool:
        for name, key in found.items():
            scopes = {"scopes": ("threads:read",)} if name == "reader" else {}
            await ApiKeys(pool).add(key, name=f"socket-{name}", owner="socket-ada" if name == "reader" else f"socket-{name}", **scopes)
    yield found


class Socket:
    """One connection, as a client uses it."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.events: list[Json] = []
        self._number = 0

    async def next(self) -> Json:
        async with asyncio.timeout(SECONDS):
            message: Json = json.loads(await self.connection.recv())
        if message["type"] == "event":
            self.events.append(message)
        return message

    async def ask(self, method: str, params: Json | None = None) -> Json:
        """The answer to a command; events that come before it are kept."""
        self._number += 1
        await self.connection.send(json.dumps({"id": self._number, "method": method, "params": params or {}}))
        while (answer := await self.next()).get("id") != self._number:
            pass
        return answer

    async def subscribe(self, *channels: str, **more: Any) -> str:
        answer = await self.ask("subscription.subscribe", {"channels": list(channels), **more})
        assert answer["type"] == "success", answer
        return str(answer["result"]["subscription_id"])

    async def until_over(self) -> list[Json]:
        """All events, up to the end of a run."""
        while not (self.events and _is_end(self.events[-1])):
            await self.next()
        return self.events


def _is_end(event: Json) -> bool:
    data = event["params"]["data"]
    return event["method"] == "lifecycle" and not event["params"]["namespace"] and data["event"] in {"completed", "failed", "interrupted"}


@asynccontextmanager
async def opened(url: str, thread_id: str, **options: Any) -> AsyncIterator[Socket]:
    address = url.replace("http", "ws", 1) + f"/threads/{thread_id}/stream/events"
    async with connect(address, proxy=None, **options) as connection:
        yield Socket(connection)


async def closed_with(url: str, thread_id: str, **options: Any) -> int | None:
    """The code a connection is closed with."""
    async with opened(url, thread_id, **options) as socket:
        with pytest.raises(ConnectionClosed) as found:
            await socket.next()
    return found.value.rcvd.code if found.value.rcvd else None


@pytest.mark.compat("Event streaming", "WebSocket", "commands and events over one connection, opened before the thread exists")
async def test_a_run_is_started_and_followed_over_one_connection(url: str) -> None:
    async with opened(url, new_thread_id()) as socket:
        await socket.subscribe("values", "lifecycle")
        answer = await socket.ask("run.start", {"assistant_id": "echo", "input": {"text": "w"}})
        assert answer["result"]["run_id"]
        events = await socket.until_over()
    assert [event["method"] for event in events] == ["lifecycle", "values", "values", "values", "lifecycle"]
    assert events[-2]["params"]["data"]["log"] == ["first:w:plain", "second:w"]


@pytest.mark.compat(
    "Event streaming", "WebSocket: subscription.subscribe, unsubscribe", "each event once however many want it; none after unsubscribing"
)
async def test_what_several_subscriptions_want_comes_once(url: str) -> None:
    async with opened(url, new_thread_id()) as socket:
        await socket.subscribe("values", "lifecycle")
        second = await socket.subscribe("values", "updates")
        await socket.ask("run.start", {"assistant_id": "echo", "input": {"text": "w"}})
        await socket.until_over()
        assert (await socket.ask("subscription.unsubscribe", {"subscription_id": second}))["type"] == "success"
        identifiers = [event["event_id"] for event in socket.events]
        assert len(identifiers) == len(set(identifiers))
        assert {event["method"] for event in socket.events} == {"values", "lifecycle", "updates"}
        socket.events.clear()
        await socket.ask("run.start", {"assistant_id": "echo", "input": {"text": "x"}})
        assert {event["method"] for event in await socket.until_over()} == {"values", "lifecycle"}
        assert (await socket.ask("subscription.unsubscribe", {"subscription_id": second}))["error"] == "no_such_subscription"


async def test_nothing_of_a_run_comes_after_its_end_in_another_subscription(url: str) -> None:
    """Clients pause what they read when a run ends: what came later would wait for the next run."""
    for _ in range(10):
        async with opened(url, new_thread_id()) as socket:
            for channels in (("lifecycle",), ("messages", "lifecycle"), ("values", "lifecycle"), ("updates", "tasks", "lifecycle")):
                await socket.subscribe(*channels)
            await socket.ask("run.start", {"assistant_id": "talker", "input": {"messages": [{"role": "user", "content": "one two"}]}})
            numbers = [event["seq"] for event in await socket.until_over()]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    numbers.append(json.loads(await socket.connection.recv())["seq"])
            assert max(numbers) == next(event["seq"] for event in socket.events if _is_end(event))
            assert numbers[-1] == max(numbers)


@pytest.mark.compat("Event streaming", "WebSocket: subscription.reconnect", "goes on behind last_event_id on a new connection")
async def test_a_subscription_is_taken_up_again(url: str) -> None:
    thread_id = new_thread_id()
    async with opened(url, thread_id) as socket:
        await socket.subscribe("values", "updates", "lifecycle")
        await socket.ask("run.start", {"assistant_id": "echo", "input": {"text": "w"}})
        whole = await socket.until_over()
    async with opened(url, thread_id) as socket:
        again = {"channels": ["values", "updates", "lifecycle"], "run_id": "any", "last_event_id": whole[2]["event_id"]}
        answer = await socket.ask("subscription.reconnect", again)
        assert answer["result"]["restored"] is True
        assert await socket.until_over() == whole[3:]


async def test_a_subscription_that_begins_later_in_the_thread_takes_nothing_from_one_that_begins_earlier(url: str) -> None:
    thread_id = new_thread_id()
    async with opened(url, thread_id) as socket:
        await socket.subscribe("values", "lifecycle")
        await socket.ask("run.start", {"assistant_id": "echo", "input": {"text": "w"}})
        whole = await socket.until_over()
    async with opened(url, thread_id) as socket:
        await socket.subscribe("values", "lifecycle", since=whole[-1]["seq"])
        await socket.subscribe("lifecycle", "input")
        await socket.ask("run.start", {"assistant_id": "echo", "input": {"text": "x"}})
        await socket.until_over()
        await socket.subscribe("values", "lifecycle")
        async with asyncio.timeout(SECONDS):
            while not {event["event_id"] for event in whole} <= {event["event_id"] for event in socket.events}:
                await socket.next()


async def test_an_interrupt_is_answered_over_the_connection(url: str) -> None:
    async with opened(url, new_thread_id()) as socket:
        await socket.subscribe("input", "lifecycle", "values")
        await socket.ask("run.start", {"assistant_id": "asks", "input": {"text": "w"}})
        await socket.until_over()
        (asked,) = [event["params"]["data"] for event in socket.events if event["method"] == "input.requested"]
        socket.events.clear()
        await socket.ask("input.respond", {"interrupt_id": asked["interrupt_id"], "response": "blue"})
        events = await socket.until_over()
    assert events[-1]["params"]["data"]["event"] == "completed"
    assert events[-2]["params"]["data"]["log"] == ["answer:blue"]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("no json", "invalid_argument"),
        ("[]", "invalid_argument"),
        ('{"id": "x", "method": "run.start"}', "invalid_argument"),
        ('{"id": 1, "method": "state.get"}', "unknown_command"),
        ('{"id": 1, "method": "subscription.subscribe", "params": {"channels": []}}', "invalid_argument"),
        ('{"id": 1, "method": "subscription.subscribe", "params": {"channels": ["thoughts"]}}', "invalid_argument"),
        ('{"id": 1, "method": "subscription.reconnect", "params": {"channels": ["values"], "last_event_id": "x"}}', "invalid_argument"),
        ('{"id": 1, "method": "run.start", "params": {"assistant_id": "echo", "input": "a\\u0000b"}}', "invalid_argument"),
    ],
)
async def test_a_message_that_makes_no_sense_is_an_error_and_the_connection_stays(url: str, message: str, code: str) -> None:
    async with opened(url, new_thread_id()) as socket:
        await socket.connection.send(message)
        answer = await socket.next()
        assert (answer["type"], answer["error"]) == ("error", code), answer
        await socket.subscribe("values")


async def test_a_message_that_is_too_large_closes_the_connection(url: str) -> None:
    async with opened(url, new_thread_id()) as socket:
        await socket.connection.send(json.dumps({"id": 1, "method": "x" * 2_000_000}))
        with pytest.raises(ConnectionClosed) as found:
            await socket.next()
    assert found.value.rcvd and found.value.rcvd.code == 1009


async def test_a_connection_has_so_many_subscriptions_at_most(url: str) -> None:
    async with opened(url, new_thread_id()) as socket:
        for _ in range(64):
            await socket.subscribe("lifecycle")
        assert (await socket.ask("subscription.subscribe", {"channels": ["values"]}))["error"] == "invalid_argument"


async def test_a_client_that_does_not_read_holds_nobody_else_up(url: str) -> None:
    thread_id = new_thread_id()
    async with opened(url, thread_id, max_queue=1) as slow, opened(url, thread_id) as quick:
        await slow.subscribe("custom", "values", "lifecycle")
        await quick.subscribe("lifecycle")
        await quick.ask("run.start", {"assistant_id": "slow", "input": {"text": "200", "log": ["x" * 200_000]}})
        assert (await quick.until_over())[-1]["params"]["data"]["event"] == "completed"
        numbers = [event["params"]["data"]["payload"]["number"] for event in await slow.until_over() if event["method"] == "custom"]
    assert numbers == list(range(200))


async def test_who_leaves_frees_everything(url: str) -> None:
    async def open_streams() -> float:
        async with httpx.AsyncClient() as http:
            lines = (await http.get(f"{url}/metrics")).text.splitlines()
        return float(next(line for line in lines if line.startswith("freehold_open_streams ")).split()[1])

    thread_id = new_thread_id()
    before = await open_streams()
    async with opened(url, thread_id) as one, opened(url, thread_id) as other:
        for socket in (one, other):
            await socket.subscribe("values", "lifecycle")
        await one.ask("run.start", {"assistant_id": "slow", "input": {"text": "10000"}})
        await other.next()
        assert await open_streams() == before + 2
        other.connection.transport.abort()  # as a client that loses its network
    async with asyncio.timeout(SECONDS):
        while await open_streams() != before:
            await asyncio.sleep(0.1)


# -- who may ------------------------------------------------------------------------------------------------------


@pytest.mark.compat("Event streaming", "WebSocket: origin", "a page of another site is refused, a page of this server is not")
async def test_pages_of_other_sites_are_refused(url: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with opened(url, new_thread_id(), origin="https://evil.example"):
            pass
    assert refused.value.response.status_code == 403
    async with opened(url, new_thread_id(), origin=url) as socket:
        await socket.subscribe("values")


@pytest.mark.compat("Event streaming", "WebSocket: credentials", "headers as over HTTP; browsers offer them as a subprotocol")
async def test_a_key_is_needed_and_may_come_as_a_subprotocol(keyed_url: str, keys: dict[str, str]) -> None:
    thread_id = new_thread_id()
    assert await closed_with(keyed_url, thread_id) == 4401
    assert await closed_with(keyed_url, thread_id, additional_headers={"x-api-key": "fh_wrong"}) == 4401
    assert await closed_with(keyed_url, thread_id, subprotocols=["langgraph", "x-api-key.fh_wrong"]) == 4401
    for options in (
        {"additional_headers": {"x-api-key": keys["ada"]}},
        {"additional_headers": {"authorization": f"Bearer {keys['ada']}"}},
        {"subprotocols": ["langgraph", f"x-api-key.{keys['ada']}"]},
        {"subprotocols": [f"bearer.{keys['ada']}", "langgraph"]},
    ):
        async with opened(keyed_url, thread_id, **options) as socket:
            assert socket.connection.subprotocol in {None, "langgraph"}, "a key was sent back"
            await socket.subscribe("values")


async def test_a_page_of_another_site_needs_a_credential_it_knows_not_the_cookies_of_its_user(keyed_url: str, keys: dict[str, str]) -> None:
    thread_id = new_thread_id()
    with pytest.raises(InvalidStatus) as refused:
        async with opened(keyed_url, thread_id, origin="https://evil.example", additional_headers={"cookie": "session=1"}):
            pass
    assert refused.value.response.status_code == 403
    async with opened(keyed_url, thread_id, origin="https://app.example", subprotocols=["langgraph", f"x-api-key.{keys['ada']}"]) as socket:
        await socket.subscribe("values")


async def test_binary_messages_are_read_as_well(url: str) -> None:
    async with opened(url, new_thread_id()) as socket:
        await socket.connection.send(b'{"id": 1, "method": "subscription.subscribe", "params": {"channels": ["values"]}}')
        assert (await socket.next())["type"] == "success"
        await socket.connection.send(b"\xff\xfe")
        assert (await socket.next())["error"] == "invalid_argument"


async def test_a_key_that_may_only_read_starts_nothing(keyed_url: str, keys: dict[str, str]) -> None:
    async with opened(keyed_url, new_thread_id(), additional_headers={"x-api-key": keys["reader"]}) as socket:
        await socket.subscribe("values")
        assert (await socket.ask("run.start", {"assistant_id": "echo", "input": {}}))["error"] == "permission_denied"


@pytest.mark.compat("Event streaming", "threads of others", "are as if they did not exist, over HTTP and WebSocket")
async def test_nobody_streams_or_commands_the_thread_of_another(keyed_url: str, keys: dict[str, str]) -> None:
    thread_id = new_thread_id()
    ada, bob = {"x-api-key": keys["ada"]}, {"x-api-key": keys["bob"]}
    async with httpx.AsyncClient(base_url=keyed_url, timeout=30) as http:
        async with opened(keyed_url, thread_id, additional_headers=ada) as mine:
            await mine.subscribe("input", "lifecycle")
            await mine.ask("run.start", {"assistant_id": "asks", "input": {"text": "secret"}})
            await mine.until_over()
        (asked,) = [event["params"]["data"]["interrupt_id"] for event in mine.events if event["method"] == "input.requested"]
        assert (await http.get(f"/threads/{thread_id}/stream", headers=bob)).status_code == 404
        body: Json = {"channels": ["values"]}
        assert (await http.post(f"/threads/{thread_id}/stream/events", json=body, headers=bob)).status_code == 404
        commands: list[tuple[str, Json]] = [
            ("run.start", {"assistant_id": "echo", "input": {}}),
            ("input.respond", {"interrupt_id": asked, "response": "x"}),
            ("agent.getTree", {}),
        ]
        async with opened(keyed_url, thread_id, additional_headers=bob) as theirs:
            await theirs.subscribe("values", "lifecycle", "input", "messages")
            for number, (method, params) in enumerate(commands):
                over_http = await http.post(
                    f"/threads/{thread_id}/commands", json={"id": number, "method": method, "params": params}, headers=bob
                )
                assert over_http.json()["type"] == "error", (method, over_http.text)
                assert (await theirs.ask(method, params))["type"] == "error", method
            async with opened(keyed_url, thread_id, additional_headers=ada) as mine:
                await mine.subscribe("lifecycle", since=mine.events[-1]["seq"] if mine.events else 0)
                await mine.ask("input.respond", {"interrupt_id": asked, "response": "blue"})
                while not any(event["params"]["data"]["event"] == "completed" for event in mine.events):
                    await mine.next()
            await theirs.ask("agent.getTree")
            assert theirs.events == []
