"""Webhooks: a run tells a URL how it ended, signed, again and again until it is taken. Receivers are real servers on this machine."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIStatusError
from tests.api.serving import serving
from tests.support.servers import ValkeyServer

from freehold.storage.api_keys import ApiKeys, generate
from freehold.storage.pool import create_pool

HTTP_PROJECT = Path(__file__).parent / "http_project"


class Received:
    """One request of a webhook."""

    def __init__(self, head: str, body: bytes) -> None:
        request, *lines = head.split("\r\n")
        self.target = request.split(" ")[1]
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def run_id(self) -> str:
        return str(self.json["run_id"])


class Receiver:
    """Answers webhooks; `answers` are used up first, then it is 200."""

    def __init__(self) -> None:
        self.url = ""
        self.answers: list[str] = []
        self._received: list[Received] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().split("content-length:")[1].split("\r\n")[0])
        self._received.append(Received(head, await reader.readexactly(length)))
        status = self.answers.pop(0) if self.answers else "200 OK"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    def of(self, run_id: str) -> list[Received]:
        return [received for received in self._received if received.run_id == run_id]

    async def got(self, run_id: str, count: int = 1) -> list[Received]:
        """So many deliveries of a run."""
        async with asyncio.timeout(60):
            while len(self.of(run_id)) < count:
                await asyncio.sleep(0.05)
        return self.of(run_id)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver on a port of its own."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.handle, "127.0.0.1", 0)
    async with server:
        receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield receiver


@pytest.fixture(scope="module")
def webhook_url(own_database_url: str, valkey: ValkeyServer) -> Iterator[str]:
    """A server that needs keys, and sends webhooks to this machine; three tries in quick succession."""
    rules = {"allow_private": ["127.0.0.1"], "retry_seconds": 0.1, "attempts": 3, "timeout_seconds": 5}
    with serving(own_database_url, valkey.url, server={"auth": "keys"}, webhooks=rules) as address:
        yield address


@pytest.fixture(scope="module")
async def people(webhook_url: str, own_database_url: str) -> AsyncIterator[tuple[LangGraphClient, LangGraphClient]]:
    """Two owners."""
    keys = {"ada": generate(), "bob": generate()}
    async with create_pool(own_database_url, max_size=2) as pool, AsyncExitStack() as stack:
        for owner, key in keys.items():
            await ApiKeys(pool).add(key, name=owner, owner=owner)
        ada, bob = [await stack.enter_async_context(get_client(url=webhook_url, api_key=key)) for key in keys.values()]
        yield ada, bob


@pytest.fixture
def ada(people: tuple[LangGraphClient, LangGraphClient]) -> LangGraphClient:
    return people[0]


async def deliveries(client: LangGraphClient, run: Any) -> list[Any]:
    return list(await client.http.get(f"/threads/{run['thread_id']}/runs/{run['run_id']}/webhooks"))


async def over(client: LangGraphClient, run: Any) -> Any:
    """The delivery of a run, once it was made or given up."""
    async with asyncio.timeout(60):
        while not (found := await deliveries(client, run)) or found[0]["status"] == "pending":
            await asyncio.sleep(0.05)
    return found[0]


@pytest.mark.compat("Webhooks", "webhook on a run", "its end is POSTed: run fields, status, times, values")
async def test_the_end_of_a_run_is_told_to_its_webhook(ada: LangGraphClient, receiver: Receiver) -> None:
    thread = await ada.threads.create()
    run: Any = await ada.runs.create(
        thread["thread_id"], "echo", input={"text": "a"}, metadata={"by": "test"}, webhook=f"{receiver.url}/hook?x=1"
    )
    (received,) = await receiver.got(run["run_id"])
    told = received.json
    assert received.target == "/hook?x=1" and received.headers["content-type"] == "application/json"
    for name in ("run_id", "thread_id", "assistant_id", "multitask_strategy", "metadata"):
        assert told[name] == run[name]
    assert told["status"] == "success" and "error" not in told and "interrupts" not in told
    assert told["values"] == {"text": "a", "log": ["first:a:plain", "second:a"]}
    assert told["kwargs"]["input"] == {"text": "a"} and told["kwargs"]["webhook"] == run["kwargs"]["webhook"]
    assert told["created_at"] <= told["run_started_at"] <= told["run_ended_at"] <= told["webhook_sent_at"]
    assert not {"user", "origin"} & told["kwargs"].keys()


@pytest.mark.compat("Webhooks", "webhook on a run that fails", "status error, with the error")
async def test_the_failure_of_a_run_is_told_with_its_error(ada: LangGraphClient, receiver: Receiver) -> None:
    run: Any = await ada.runs.create(None, "fails", input={"text": "a"}, webhook=receiver.url)
    (received,) = await receiver.got(run["run_id"])
    assert received.json["status"] == "error"
    assert received.json["error"] == {"error": "ValueError", "message": "the graph failed on purpose"}


@pytest.mark.compat("Webhooks", "webhook on a run that asks a person", "the interrupts are told")
async def test_a_run_that_waits_for_a_person_tells_what_it_asks(ada: LangGraphClient, receiver: Receiver) -> None:
    thread = await ada.threads.create()
    run: Any = await ada.runs.create(thread["thread_id"], "asks", input={"text": "a"}, webhook=receiver.url)
    (received,) = await receiver.got(run["run_id"])
    (asked,) = received.json["interrupts"]
    assert received.json["status"] == "success" and asked["value"] == {"question": "Which colour?"}


@pytest.mark.compat("Webhooks", "webhook of a cancelled run", "is told too, also where the run had not begun")
async def test_cancelled_runs_are_told_too_but_not_those_rolled_back(ada: LangGraphClient, receiver: Receiver) -> None:
    thread = await ada.threads.create()
    begun: Any = await ada.runs.create(thread["thread_id"], "waits", input={"text": "a"}, webhook=receiver.url)
    waiting: Any = await ada.runs.create(thread["thread_id"], "echo", input={"text": "b"}, webhook=receiver.url)
    undone: Any = await ada.runs.create(thread["thread_id"], "echo", input={"text": "c"}, webhook=receiver.url)
    await ada.runs.cancel(thread["thread_id"], undone["run_id"], action="rollback")
    await ada.runs.cancel(thread["thread_id"], waiting["run_id"])
    await ada.runs.cancel(thread["thread_id"], begun["run_id"], wait=True)
    for run in (waiting, begun):
        (received,) = await receiver.got(run["run_id"])
        assert received.json["status"] == "interrupted"
    assert receiver.of(undone["run_id"]) == []


@pytest.mark.compat("Webhooks", "webhook with wait, stream, stateless runs and crons", "is told in each")
async def test_every_way_to_start_a_run_takes_a_webhook(ada: LangGraphClient, receiver: Receiver) -> None:
    thread = await ada.threads.create()
    await ada.runs.wait(thread["thread_id"], "echo", input={"text": "a"}, webhook=receiver.url)
    async for _ in ada.runs.stream(thread["thread_id"], "echo", input={"text": "b"}, webhook=receiver.url):
        pass
    await ada.runs.wait(None, "echo", input={"text": "c"}, webhook=receiver.url)
    for run in await ada.runs.list(thread["thread_id"]):
        await receiver.got(run["run_id"])
    cron: Any = await ada.crons.create("echo", schedule="* * * * * *", input={"text": "d"}, webhook=receiver.url)
    async with asyncio.timeout(60):
        while not {"c", "d"} <= {received.json["values"]["text"] for received in receiver._received}:
            await asyncio.sleep(0.1)
    await ada.crons.delete(cron["cron_id"])


@pytest.mark.compat("Webhooks", "GET /webhooks/secret (ours)", "deliveries are signed with it; each owner has another one")
async def test_a_delivery_is_signed_with_the_secret_of_its_owner(
    people: tuple[LangGraphClient, LangGraphClient], receiver: Receiver
) -> None:
    secrets = [(await person.http.get("/webhooks/secret"))["secret"] for person in people]
    assert len(set(secrets)) == 2
    for person, secret in zip(people, secrets, strict=True):
        run: Any = await person.runs.create(None, "echo", input={"text": "a"}, webhook=receiver.url)
        (received,) = await receiver.got(run["run_id"])
        time, signature = (part.split("=")[1] for part in received.headers["x-freehold-signature"].split(","))
        assert signature == hmac.new(secret.encode(), f"{time}.".encode() + received.body, hashlib.sha256).hexdigest()
        assert received.headers["webhook-timestamp"] == time and received.headers["webhook-signature"].startswith("v1,")


@pytest.mark.compat("Webhooks", "a receiver that fails", "is tried again with the same id, and what came of it can be read")
async def test_a_receiver_that_fails_is_tried_again(ada: LangGraphClient, receiver: Receiver) -> None:
    receiver.answers = ["503 Busy", "500 Broken"]
    run: Any = await ada.runs.create(None, "echo", input={"text": "a"}, webhook=receiver.url)
    tries = await receiver.got(run["run_id"], 3)
    assert len({received.headers["webhook-id"] for received in tries}) == 1
    assert [received.headers["x-freehold-attempt"] for received in tries] == ["1", "2", "3"]
    delivery = await over(ada, run)
    assert (delivery["status"], delivery["attempts"], delivery["last_status"], delivery["last_error"]) == ("delivered", 3, 200, None)
    assert delivery["delivery_id"] == tries[0].headers["webhook-id"] and delivery["next_try_at"] is None


@pytest.mark.compat("Webhooks", "a receiver that never answers well", "is given up after webhooks.attempts; at once with 410")
async def test_deliveries_are_given_up_after_the_last_try_and_at_once_where_the_receiver_is_gone(
    ada: LangGraphClient, receiver: Receiver
) -> None:
    receiver.answers = ["410 Gone"]
    gone: Any = await ada.runs.create(None, "echo", input={"text": "a"}, webhook=receiver.url)
    delivery = await over(ada, gone)
    assert (delivery["status"], delivery["attempts"], delivery["last_status"]) == ("failed", 1, 410)
    receiver.answers = ["500 Broken"] * 3
    broken: Any = await ada.runs.create(None, "echo", input={"text": "a"}, webhook=receiver.url)
    delivery = await over(ada, broken)
    assert (delivery["status"], delivery["attempts"], delivery["last_error"]) == ("failed", 3, "answered 500")


async def test_a_run_without_a_webhook_has_no_deliveries_and_a_missing_run_is_not_found(ada: LangGraphClient) -> None:
    run: Any = await ada.runs.create(None, "echo", input={"text": "a"})
    assert await deliveries(ada, run) == []
    with pytest.raises(APIStatusError) as refused:
        await deliveries(ada, {"thread_id": str(uuid4()), "run_id": str(uuid4())})
    assert refused.value.status_code == 404


@pytest.mark.compat("Webhooks", "GET /threads/{id}/runs/{id}/webhooks (ours)", "deliveries of one's own runs, and of nobody else's")
async def test_a_strangers_deliveries_are_not_there(people: tuple[LangGraphClient, LangGraphClient], receiver: Receiver) -> None:
    ada, bob = people
    run: Any = await ada.runs.create(None, "echo", input={"text": "a"}, webhook=receiver.url)
    await over(ada, run)
    with pytest.raises(APIStatusError) as refused:
        await deliveries(bob, run)
    assert refused.value.status_code == 404


@pytest.mark.compat("Webhooks", "URLs that lead inward", "are refused with 422: private addresses in every form, http, passwords, paths")
@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::ffff:10.0.0.1]/",
        "https://0xa000001/",
        "https://user:secret@example.com/",
        "ftp://example.com/",
        "/hooks/done",
        "nope",
    ],
)
async def test_urls_that_lead_inward_are_refused(ada: LangGraphClient, url: str) -> None:
    for start in (ada.runs.create, ada.runs.wait):
        with pytest.raises((APIStatusError, httpx.HTTPStatusError)) as refused:
            await start(None, "echo", input={"text": "a"}, webhook=url)
        assert refused.value.response.status_code == 422
        assert "secret" not in refused.value.response.text
    with pytest.raises(APIStatusError) as refused:
        await ada.crons.create("echo", schedule="0 0 1 1 *", webhook=url)
    assert refused.value.status_code == 422


async def test_the_secret_needs_a_key(webhook_url: str) -> None:
    async with httpx.AsyncClient(base_url=webhook_url) as client:
        assert (await client.get("/webhooks/secret")).status_code == 401


@pytest.mark.compat("Webhooks", "webhook that is a path", "goes to the project's own app where langgraph.json allows it, prefix and all")
async def test_a_path_leads_to_the_projects_own_app(database_url: str, valkey: ValkeyServer, tmp_path: Path) -> None:
    config = tmp_path / "langgraph.json"
    app = {"app": f"{HTTP_PROJECT}/app.py:app", "mount_prefix": "/agents"}
    rules = {"url": {"disable_loopback": False}}
    config.write_text(json.dumps({"graphs": {"look": f"{HTTP_PROJECT}/graphs.py:graph"}, "http": app, "webhooks": rules}))
    with serving(database_url, valkey.url, agents={"config": config, "shipped": False}) as address:
        async with httpx.AsyncClient(base_url=f"{address}/agents", timeout=30) as client:
            run = (
                (await client.post("/runs", json={"assistant_id": "look", "input": {"seen": {}}, "webhook": "/hook?a=b"}))
                .raise_for_status()
                .json()
            )
            async with asyncio.timeout(60):
                while not (found := (await client.get(f"/threads/{run['thread_id']}/runs/{run['run_id']}/webhooks")).json()) or (
                    found[0]["status"] == "pending"
                ):
                    await asyncio.sleep(0.1)
            assert (found[0]["status"], found[0]["last_status"]) == ("delivered", 200)
            assert "hook:success" in (await client.get("/events")).json()
            for url in ("//example.com/x", "/../x", "https://example.com@127.0.0.1/"):
                assert (await client.post("/runs", json={"assistant_id": "look", "webhook": url})).status_code == 422


@pytest.mark.compat("Webhooks", "webhooks of langgraph.json", "URL policy and headers with variables in place of their templates")
async def test_deliveries_carry_the_headers_of_the_project_and_keep_to_its_rules(
    database_url: str, valkey: ValkeyServer, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LG_WEBHOOK_TOKEN", "s3cret")
    headers = {"Authorization": "Bearer ${{ env.LG_WEBHOOK_TOKEN }}", "X-Freehold-Signature": "forged"}
    config = tmp_path / "langgraph.json"
    rules = {"headers": headers, "url": {"allowed_domains": ["127.0.0.1", "*.example.com"]}}
    config.write_text(json.dumps({"graphs": {"look": f"{HTTP_PROJECT}/graphs.py:graph"}, "webhooks": rules}))
    lan = {"allow_private": ["127.0.0.0/8"]}
    with serving(database_url, valkey.url, agents={"config": config, "shipped": False}, webhooks=lan) as address:
        async with httpx.AsyncClient(base_url=address, timeout=30) as client:
            run = (
                (await client.post("/runs", json={"assistant_id": "look", "input": {"seen": {}}, "webhook": receiver.url}))
                .raise_for_status()
                .json()
            )
            (received,) = await receiver.got(run["run_id"])
            for url in ("https://example.org/", receiver.url.replace("127.0.0.1", "127.0.0.2")):
                refused = await client.post("/runs", json={"assistant_id": "look", "webhook": url})
                assert refused.status_code == 422 and "this host is not allowed" in refused.json()["detail"]
            batch = await client.post("/runs/batch", json=[{"assistant_id": "look", "webhook": "https://example.org/"}])
            assert batch.status_code == 422
    assert received.headers["authorization"] == "Bearer s3cret"
    assert received.headers["x-freehold-signature"].startswith("t=")
