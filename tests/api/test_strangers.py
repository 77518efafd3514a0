"""Somebody else's ids on every route of the OpenAPI document: a new route cannot be forgotten, because this walks what is served.

A path parameter or a place in a body that the walk does not know fails it: say in `Walk.ids` or `BODIES` what to send there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
import pytest
from langgraph_sdk import get_client
from tests.api.serving import serving
from tests.support.servers import ValkeyServer

from freehold.server.app import ROUTERS
from freehold.storage.api_keys import ApiKeys, generate
from freehold.storage.pool import create_pool

#: What may be asked by anybody: whether the server lives.
PUBLIC = {"/", "/ok", "/health"}

#: Nobody's object is behind these: what the server is, and graphs that everybody may use.
NOBODYS = {"/info", "/metrics", "/openapi.json", "/docs", "/docs/{asset}", "/v1/models", "/v1/models/{model}"}

SECRET = "the-secret-of-ada"

Operation = tuple[str, str]


@dataclass(frozen=True)
class Walk:
    """A server with keys, its document, and the objects of Ada that Bob asks for."""

    url: str
    ada: dict[str, str]
    bob: dict[str, str]
    #: Somebody of Ada's own, who may do one thing that no route but one is for.
    clerk: dict[str, str]
    document: dict[str, Any]
    #: By the name of a path parameter, or of a property of a body.
    ids: dict[str, Any] = field(default_factory=dict)

    def operations(self) -> list[Operation]:
        return [(method, path) for path, methods in self.document["paths"].items() for method in methods if path not in PUBLIC | NOBODYS]

    def request(self, operation: Operation) -> dict[str, Any]:
        """What httpx sends: every id that has a place in it is Ada's."""
        method, path = operation
        described = self.document["paths"][path][method]
        parameters = described.get("parameters", [])
        filled = path
        for parameter in parameters:
            if parameter["in"] == "path":
                name = parameter["name"]
                assert name in self.ids, f"{method} {path}: say in Walk.ids what {name} of Ada's is"
                filled = filled.replace("{" + name + "}", str(self.ids[name]))
        query = {
            item["name"]: self.ids.get(item["name"], example(item["schema"], self))
            for item in parameters
            if item["in"] == "query" and (item.get("required") or item["name"] in self.ids)
        }
        body = described.get("requestBody")
        schema = next(iter(body["content"].values()))["schema"] if body else None
        sent = BODIES.get(operation) or (example(schema, self) if schema else None)
        return {"method": method, "url": self.url + filled, "params": query, **({"json": fill(sent, self)} if sent is not None else {})}


#: Where a schema does not say enough: `$name` stands for Ada's.
BODIES: dict[Operation, Any] = {
    ("post", "/threads/{thread_id}/commands"): {
        "id": 1,
        "method": "run.start",
        "params": {"assistant_id": "echo", "input": {"text": "mine now"}},
    },
    ("post", "/threads/{thread_id}/stream/events"): {"channels": ["values"]},
    ("post", "/mcp"): {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "x"}}},
    ("post", "/a2a/{assistant_id}"): {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "message/send",
        "params": {"message": {"role": "user", "messageId": "m", "contextId": "$thread_id", "parts": [{"kind": "text", "text": "hello"}]}},
    },
    ("post", "/chat"): {"message": "hello"},
    ("post", "/v1/chat/completions"): {"model": "talker", "messages": [{"role": "user", "content": "hello"}]},
}


def fill(value: Any, walk: Walk) -> Any:
    """`$thread_id` -> Ada's."""
    if isinstance(value, str) and value.startswith("$"):
        return walk.ids[value[1:]]
    if isinstance(value, dict):
        return {key: fill(item, walk) for key, item in value.items()}
    return [fill(item, walk) for item in value] if isinstance(value, list) else value


def example(schema: dict[str, Any], walk: Walk) -> Any:
    """The least that fits a JSON schema, with Ada's id wherever a property is named like one."""
    if "$ref" in schema:
        return example(walk.document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]], walk)
    if "const" in schema or "enum" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return example(next(item for item in schema[several] if item.get("type") != "null"), walk)
    if schema.get("allOf"):
        return example(schema["allOf"][0], walk)
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        required = set(schema.get("required", ()))
        properties = schema.get("properties", {}).items()
        return {name: walk.ids.get(name, example(item, walk)) for name, item in properties if name in required or name in walk.ids}
    if kind == "array":
        return [example(schema["items"], walk)] if schema.get("items") else []
    if schema.get("format") == "uuid":
        return walk.ids["thread_id"]
    return {"integer": 1, "number": 1, "boolean": False, "string": "x"}.get(str(kind), {})


@pytest.fixture(scope="module")
def url(api_database_url: str, valkey: ValkeyServer) -> Iterator[str]:
    with serving(api_database_url, valkey.url, server={"auth": "keys"}) as address:
        yield address


@pytest.fixture(scope="module")
async def walk(url: str, api_database_url: str) -> AsyncIterator[Walk]:
    keys = {name: generate() for name in ("ada", "bob", "clerk")}
    ada = f"ada-{uuid4().hex[:6]}"
    async with create_pool(api_database_url, max_size=2) as pool:
        await ApiKeys(pool).add(keys["ada"], name="ada", owner=ada)
        await ApiKeys(pool).add(keys["bob"], name="bob", owner=f"bob-{uuid4().hex[:6]}")
        await ApiKeys(pool).add(keys["clerk"], name="clerk", owner=ada, scopes=["audit:read"])
    async with get_client(url=url, api_key=keys["ada"]) as sdk, httpx.AsyncClient(base_url=url, timeout=30) as http:
        headers = {name: {"x-api-key": key} for name, key in keys.items()}
        document = (await http.get("/openapi.json", headers=headers["ada"])).json()
        thread_id = (await sdk.threads.create(metadata={"note": SECRET}))["thread_id"]
        run = await sdk.runs.create(thread_id, "echo", input={"text": SECRET}, metadata={"note": SECRET})
        await sdk.runs.join(thread_id, run["run_id"])
        state = await sdk.threads.get_state(thread_id)
        assistant = await sdk.assistants.create("echo", metadata={"note": SECRET}, name=SECRET)
        cron = await sdk.crons.create_for_thread(thread_id, "echo", schedule="0 0 1 1 *", input={"text": SECRET})
        await sdk.store.put_item(["ada"], key="secret", value={"note": SECRET})
        ids = {
            "thread_id": thread_id,
            "run_id": run["run_id"],
            "checkpoint_id": state["checkpoint"]["checkpoint_id"],
            "assistant_id": assistant["assistant_id"],
            "cron_id": cron["cron_id"],
            "graph_id": "echo",
            "namespace": "x",
            "thread_ids": [thread_id],
            "run_ids": [run["run_id"]],
            "ids": [thread_id],
        }
        yield Walk(url, headers["ada"], headers["bob"], headers["clerk"], document, ids)


async def _answers(walk: Walk, headers: dict[str, str]) -> dict[Operation, httpx.Response]:
    async with httpx.AsyncClient(timeout=20) as client:
        found = {}
        for operation in walk.operations():
            found[operation] = await client.request(**walk.request(operation), headers=headers)
        return found


async def test_no_route_answers_somebody_without_a_key(walk: Walk) -> None:
    answers = await _answers(walk, {})
    assert {operation: answer.text[:300] for operation, answer in answers.items() if answer.status_code != 401} == {}


async def test_every_route_asks_what_the_key_may_do(walk: Walk) -> None:
    before = await _belongings(walk)
    answers = await _answers(walk, walk.clerk)
    allowed = {operation: answer.text[:300] for operation, answer in answers.items() if not _is_refusal(answer)}
    assert list(allowed) == [("get", "/audit")], allowed
    assert await _belongings(walk) == before


async def test_every_route_is_in_the_document_or_known_to_be_outside_it() -> None:
    hidden = {route.path for router in ROUTERS for route in router.routes if not getattr(route, "include_in_schema", False)}  # type: ignore[attr-defined]
    assert hidden - HIDDEN == set(), "what the walk cannot see needs a test of its own; say here that it has one"


#: Health and documents without an object; the WebSocket has its own strangers in tests/api/streaming, what the edge asks in
#: test_auth_check.py; the rest answers nobody.
HIDDEN = {
    *PUBLIC,
    "/openapi.json",
    "/docs",
    "/docs/{asset}",
    "/threads/{thread_id}/stream/events",
    "/mcp/",
    "/mcp",
    "/ui/{graph_id}",
    "/auth/check",
}


async def test_no_route_gives_or_changes_what_is_somebody_elses(walk: Walk) -> None:
    before = await _belongings(walk)
    assert SECRET in before["thread"]
    answers = await _answers(walk, walk.bob)
    told = {operation: answer.text[:300] for operation, answer in answers.items() if SECRET in answer.text}
    assert told == {}
    broken = {operation: answer.text[:300] for operation, answer in answers.items() if answer.status_code >= 500}
    assert {operation: text for operation, text in broken.items() if "not supported" not in text} == {}
    addressed = {operation: answer for operation, answer in answers.items() if _names_an_object(operation)}
    assert {operation: answer.text[:300] for operation, answer in addressed.items() if not _is_refusal(answer)} == {}
    assert await _belongings(walk) == before


def _is_refusal(answer: httpx.Response) -> bool:
    """Not found, not allowed, taken; some protocols say so in the body of a 200."""
    if answer.status_code in {403, 404, 409}:
        return True
    body = answer.json() if answer.status_code == 200 and "json" in answer.headers["content-type"] else None
    return isinstance(body, dict) and ("error" in body or body.get("type") == "error")


def _names_an_object(operation: Operation) -> bool:
    return any("{" + name + "}" in operation[1] for name in ("thread_id", "run_id", "assistant_id", "cron_id", "checkpoint_id"))


async def _belongings(walk: Walk) -> dict[str, str]:
    """Everything of Ada's, as she sees it."""
    asked: dict[str, tuple[str, str, Any]] = {
        "thread": ("GET", f"/threads/{walk.ids['thread_id']}", None),
        "state": ("GET", f"/threads/{walk.ids['thread_id']}/state", None),
        "history": ("GET", f"/threads/{walk.ids['thread_id']}/history", None),
        "runs": ("GET", f"/threads/{walk.ids['thread_id']}/runs", None),
        "assistant": ("GET", f"/assistants/{walk.ids['assistant_id']}", None),
        "cron": ("GET", f"/runs/crons/{walk.ids['cron_id']}", None),
        "threads": ("POST", "/threads/search", {"limit": 100}),
        "store": ("POST", "/store/items/search", {"namespace_prefix": []}),
    }
    async with httpx.AsyncClient(base_url=walk.url, headers=walk.ada, timeout=20) as client:
        calls = [client.request(method, path, json=body) for method, path, body in asked.values()]
        return {name: answer.raise_for_status().text for name, answer in zip(asked, await asyncio.gather(*calls), strict=True)}
