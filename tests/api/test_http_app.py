"""`http` of langgraph.json: the project's own application, its order with authentication, headers, prefix, and what is taken away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_client
from tests.api.serving import serving
from tests.support.servers import ValkeyServer

from freehold.bootstrap import open_server
from freehold.config.settings import Settings
from freehold.core.errors import GraphError
from freehold.server.app import create_app
from freehold.storage.api_keys import ApiKeys, generate
from freehold.storage.pool import create_pool

FOLDER = Path(__file__).parent / "http_project"

GRAPHS = {"look": f"{FOLDER}/graphs.py:graph", "waits": f"{FOLDER}/graphs.py:waits"}

Serve = Callable[..., Any]


@pytest.fixture(scope="module")
def serve(own_database_url: str, valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Serve:
    """Starts a server over the project with `http` as given; `**sections` are settings of freehold.toml."""

    @contextmanager
    def start(http: dict[str, Any], **sections: Any) -> Iterator[str]:
        config = tmp_path_factory.mktemp("project") / "langgraph.json"
        app = {"app": f"{FOLDER}/{http['app']}"} if "app" in http else {}
        config.write_text(json.dumps({"graphs": GRAPHS, "http": {**http, **app}}))
        with serving(own_database_url, valkey.url, agents={"config": config, "shipped": False}, **sections) as url:
            yield url

    return start


@pytest.fixture(scope="module")
def url(serve: Serve) -> Iterator[str]:
    """A server with the project's own application, without keys."""
    with serve({"app": "app.py:app"}) as address:
        yield address


@pytest.fixture(scope="module")
async def key(own_database_url: str) -> str:
    secret = generate()
    async with create_pool(own_database_url, max_size=1) as pool:
        await ApiKeys(pool).add(secret, name="ann", owner="ann")
    return secret


async def get(url: str, path: str, **options: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        return await client.get(path, **options)


@pytest.mark.compat("langgraph.json", "http.app", "routes of the project's FastAPI application answer, also included and nested ones")
async def test_routes_of_the_project_answer_with_its_state_and_its_app(url: str) -> None:
    body = (await get(url, "/custom")).json()
    assert body == {"same_loop": True, "user": None, "url": f"{url}/custom", "app": "Custom"}
    assert (await get(url, "/more/deep/x")).json() == {"name": "x"}


@pytest.mark.compat("langgraph.json", "http.app: precedence", "a route of the project wins over ours; other methods of the path stay ours")
async def test_routes_of_the_project_win_and_what_they_lack_is_ours(url: str) -> None:
    assert (await get(url, "/info")).json() == {"mine": True}
    assert (await get(url, "/threads")).json() == {"mine": True}
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        created = await client.post("/threads", json={"metadata": {"a": 1}})
        assert created.json()["metadata"] == {"a": 1}
        assert (await client.delete("/custom")).status_code == 405
        missing = await client.get("/nowhere")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


@pytest.mark.compat("langgraph.json", "http.app: middleware", "the project's middleware is around its routes and ours, streams included")
async def test_middleware_of_the_project_is_around_everything(url: str) -> None:
    assert (await get(url, "/custom")).headers["x-stamp"] == "/custom"
    assert (await get(url, "/ok")).headers["x-stamp"] == "/ok"
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        streamed = await client.post("/runs/stream", json={"assistant_id": "look", "input": {}})
        wrong = await client.post("/threads/search", json={"limit": "x"})
    assert (streamed.headers["x-stamp"], streamed.headers["x-time"]) == ("/runs/stream", "now")
    assert "event: values" in streamed.text
    assert (wrong.status_code, wrong.headers["x-stamp"]) == (422, "/threads/search")


async def test_a_client_that_leaves_is_noticed_through_the_middleware_of_the_project(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        thread = (await client.post("/threads", json={})).json()["thread_id"]
        body = {"assistant_id": "waits", "input": {}, "on_disconnect": "cancel"}
        async with client.stream("POST", f"/threads/{thread}/runs/stream", json=body) as streaming:
            run = streaming.headers["content-location"]
            async for line in streaming.aiter_lines():
                if line.startswith("event: metadata"):
                    break
        async with asyncio.timeout(60):
            while (await client.get(run)).json()["status"] != "interrupted":
                await asyncio.sleep(0.05)


def test_pages_mounted_at_the_root_take_what_is_not_ours(serve: Serve) -> None:
    with serve({"app": "app.py:with_pages"}, worker=False) as url:
        assert httpx.get(f"{url}/plain").json() == {"plain": True}
        assert httpx.get(f"{url}/ok").json() == {"ok": True}
        assert httpx.post(f"{url}/threads", json={}).json()["thread_id"]
        assert httpx.get(f"{url}/").text == "page /"
        assert httpx.get(f"{url}/assets/x.js").text == "page /assets/x.js"


async def test_what_a_route_of_the_project_raises_goes_to_its_own_handler(url: str) -> None:
    response = await get(url, "/fails")
    assert (response.status_code, response.json()) == (409, {"mine": "handled"})


async def test_a_form_of_the_project_is_read_as_a_form(url: str) -> None:
    async with httpx.AsyncClient(base_url=url) as client:
        response = await client.post("/form", data={"colour": "red"})
    assert response.json() == {"colour": "red"}


async def test_websockets_of_the_project_work_behind_the_guard(url: str) -> None:
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidStatus

    address = url.replace("http", "ws") + "/echo"
    async with connect(address) as socket:
        await socket.send("hello")
        assert await socket.recv() == "hello"
    with pytest.raises(InvalidStatus):
        async with connect(address, origin="https://evil.example"):  # type: ignore[arg-type]
            pass


async def test_the_guard_stands_before_the_project_too(url: str) -> None:
    foreign = await get(url, "/custom", headers={"origin": "https://evil.example"})
    rebound = await get(url, "/custom", headers={"host": "evil.example"})
    assert (foreign.status_code, rebound.status_code) == (403, 421)


async def test_the_openapi_document_has_the_routes_of_the_project(url: str) -> None:
    paths = (await get(url, "/openapi.json")).json()["paths"]
    assert paths["/custom"]["get"]["description"] == "Something of the project's own."
    assert set(paths["/threads"]) == {"get", "post"}
    assert "/more/deep/{name}" in paths
    page = await get(url, "/docs")
    assert "Freehold" in page.text


@pytest.mark.compat("langgraph.json", "http.app: lifespan", "the project's lifespan starts and ends with the server")
def test_the_lifespan_of_the_project_starts_and_ends_with_the_server(serve: Serve) -> None:
    with serve({"app": "app.py:app"}) as url:
        seen = httpx.get(f"{url}/events").json()
        app = httpx.get(f"{url}/custom").json()
    assert app["same_loop"] is True
    with serve({"app": "app.py:app"}) as url:
        assert httpx.get(f"{url}/events").json()[len(seen) :] == ["stopped", "started"]


def test_a_starlette_application_serves_too(serve: Serve) -> None:
    with serve({"app": "app.py:starlette"}, worker=False) as url:
        assert httpx.get(f"{url}/plain").json() == {"plain": True}
        assert httpx.get(f"{url}/info").json()["graphs"] == ["look", "waits"]
        described = httpx.get(f"{url}/openapi.json").json()["paths"]["/plain"]
    assert described["get"]["summary"] == "A page without FastAPI."


@pytest.mark.parametrize(
    ("app", "message"),
    [
        ("app.py:not_an_app", "expected a starlette.Starlette, got object"),
        ("app.py:absent", 'the module has no "absent"'),
        ("nowhere.py:app", "no such file"),
    ],
)
async def test_what_is_no_application_is_named_at_the_start(
    tmp_path: Path, own_database_url: str, valkey: ValkeyServer, app: str, message: str
) -> None:
    settings = Settings.model_validate(
        {
            "database": {"url": own_database_url, "pool_size": 2},
            "redis": {"url": valkey.url},
            "agents": {"config": configured(tmp_path, {"app": f"{FOLDER}/{app}"}), "shipped": False},
        }
    )
    served = create_app(settings, lambda: open_server(settings))
    with pytest.raises(GraphError) as error:
        async with served.router.lifespan_context(served):
            pass
    assert error.value.message.startswith("http.app: ") and message in error.value.message


@pytest.mark.compat("langgraph.json", "http.enable_custom_route_auth", "custom routes need a credential with it, and know the user")
async def test_custom_routes_need_a_key_only_where_the_project_asks(serve: Serve, key: str) -> None:
    with serve({"app": "app.py:app"}, server={"auth": "keys"}, worker=False) as url:
        assert (await get(url, "/custom")).json()["user"] is None
        assert (await get(url, "/openapi.json")).status_code == 401
    with serve({"app": "app.py:app", "enable_custom_route_auth": True}, server={"auth": "keys"}, worker=False) as url:
        refused = await get(url, "/custom")
        served = await get(url, "/custom", headers={"x-api-key": key})
        public = await get(url, "/ok")
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
    assert served.json()["user"] == "ann"
    assert public.status_code == 200


@pytest.mark.compat(
    "langgraph.json", "http.middleware_order", "the project's middleware runs before authentication, with auth_first after it"
)
async def test_the_order_of_middleware_and_authentication(serve: Serve, key: str) -> None:
    teapot = {"x-teapot": "1"}
    with serve({"app": "app.py:app", "middleware_order": "middleware_first"}, server={"auth": "keys"}, worker=False) as url:
        assert (await get(url, "/assistants/look", headers=teapot)).status_code == 418
    with serve({"app": "app.py:app", "middleware_order": "auth_first"}, server={"auth": "keys"}, worker=False) as url:
        assert (await get(url, "/assistants/look", headers=teapot)).status_code == 401
        assert (await get(url, "/assistants/look", headers={**teapot, "x-api-key": key})).status_code == 418
        assert (await get(url, "/assistants/look", headers={"x-api-key": key})).status_code == 200
        assert (await get(url, "/custom", headers=teapot)).status_code == 418


@pytest.mark.compat(
    "langgraph.json", "http.disable_*", "assistants, threads, runs, store, mcp, a2a, ui and meta are not served, nor documented"
)
async def test_what_is_disabled_is_not_there(serve: Serve) -> None:
    groups = {
        "assistants": ("/assistants/look", "/assistants"),
        "threads": ("/threads/0198c0de-0000-7000-8000-000000000000", "/threads"),
        "runs": ("/threads/0198c0de-0000-7000-8000-000000000000/runs", "/runs"),
        "meta": ("/info", "/info"),
    }
    for group, (path, documented) in groups.items():
        with serve({f"disable_{group}": True}, worker=False) as url:
            gone = await get(url, path)
            assert (gone.status_code, gone.json()["detail"]) == (404, f"no such path: {path}"), group
            document = await get(url, "/openapi.json")
            if group == "meta":
                assert document.status_code == 404
                assert (await get(url, "/ok", params={"check_db": True})).json() == {"ok": True}
            else:
                left = [path for path in document.json()["paths"] if path == documented or path.startswith(documented + "/")]
                assert [path for path in left if group != "threads" or "/runs" not in path] == []
            for other, (untouched, _) in groups.items():
                assert other == group or not (await get(url, untouched)).json().get("detail", "").startswith("no such path"), (group, other)


@pytest.mark.compat(
    "langgraph.json", "http.mount_prefix", "every route, the project's too, is under the prefix; SDKs work with it in their URL"
)
async def test_everything_is_under_the_prefix(serve: Serve) -> None:
    with serve({"app": "app.py:app", "mount_prefix": "/agents/v1"}) as url:
        assert (await get(url, "/threads")).status_code == 404
        assert (await get(url, "/agents/v1x/ok")).status_code == 404
        assert (await get(url, "/ok")).json() == {"ok": True}
        assert (await get(url, "/agents/v1")).headers["location"] == "/agents/v1/"
        assert (await get(url, "/agents/v1/custom")).json()["url"] == f"{url}/agents/v1/custom"
        document = (await get(url, "/agents/v1/openapi.json")).json()
        assert document["servers"] == [{"url": "/agents/v1"}]
        assert "/agents/v1/openapi.json" in (await get(url, "/agents/v1/docs")).text
        async with get_client(url=f"{url}/agents/v1", api_key=None) as client:
            thread = await client.threads.create()
            parts = [part async for part in client.runs.stream(thread["thread_id"], "look", input={})]
            assert parts[-1].data["seen"]["thread_id"] == thread["thread_id"]
            assert (await client.runs.wait(None, "look", input={}))["seen"]["graph_id"] == "look"


@pytest.mark.compat(
    "langgraph.json", "http.configurable_headers", "headers that match reach `configurable` of runs; credentials only by exact name"
)
async def test_headers_that_match_reach_the_run(serve: Serve) -> None:
    sent = {"x-tenant-id": "t1", "x-tenant-key": "s3", "x-other": "o", "authorization": "Bearer x", "thread_id": "no"}
    with serve({"configurable_headers": {"includes": ["x-tenant-*", "thread_*"], "excludes": ["x-tenant-name"]}}) as url:
        async with httpx.AsyncClient(base_url=url, headers={**sent, "x-tenant-name": "no"}, timeout=30) as client:
            body = {"assistant_id": "look", "input": {}, "config": {"configurable": {"x-tenant-id": "forged", "tone": "kind"}}}
            seen = (await client.post("/runs/wait", json=body)).json()["seen"]
    assert {name: value for name, value in seen.items() if name.startswith("x-") or name in {"tone", "authorization"}} == {
        "x-tenant-id": "t1",
        "tone": "kind",
    }
    assert seen["thread_id"] != "no"
    with serve({"configurable_headers": {"includes": ["*", "authorization"]}}) as url:
        async with httpx.AsyncClient(base_url=url, headers=sent, timeout=30) as client:
            seen = (await client.post("/runs/wait", json={"assistant_id": "look", "input": {}})).json()["seen"]
    assert (seen["authorization"], seen["x-other"], "x-tenant-key" in seen) == ("Bearer x", "o", False)


async def test_a_credential_that_a_run_is_told_is_not_told_to_its_readers(serve: Serve) -> None:
    sent = {"x-tenant": "t1", "authorization": "Bearer hush", "x-api-key": "hush", "x-auth-token": "hush"}
    with serve({"configurable_headers": {"includes": list(sent)}}) as url:
        async with httpx.AsyncClient(base_url=url, headers=sent, timeout=30) as client:
            thread = (await client.post("/threads", json={})).json()["thread_id"]
            body = {"assistant_id": "look", "input": {}, "stream_mode": ["debug"]}
            streamed = (await client.post(f"/threads/{thread}/runs/stream", json=body)).text
            told = [json.loads(line[6:])["payload"] for line in streamed.splitlines() if line.startswith('data: {"step"')]
            configs = [payload["config"] for payload in told if "config" in payload]
            run = (await client.get(f"/threads/{thread}/runs")).json()[0]
            configs += [run["kwargs"]["config"], (await client.get(f"/threads/{thread}")).json()["config"]]
    assert len(configs) > 3
    assert all("hush" not in json.dumps(config) and config["configurable"]["x-tenant"] == "t1" for config in configs)


async def test_without_being_asked_no_header_reaches_a_run(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, headers={"x-tenant-id": "t1", "authorization": "Bearer x"}, timeout=30) as client:
        seen = (await client.post("/runs/wait", json={"assistant_id": "look", "input": {}})).json()["seen"]
    assert not [name for name in seen if name.startswith("x-") or name == "authorization"]


async def ended(url: str, run: Any) -> Any:
    """The delivery of a run's webhook, once it was made or given up."""
    async with asyncio.timeout(60), httpx.AsyncClient(base_url=url) as client:
        while True:
            found = (await client.get(f"/threads/{run['thread_id']}/runs/{run['run_id']}/webhooks")).json()
            if found and found[0]["status"] != "pending":
                return found[0]
            await asyncio.sleep(0.05)


def configured(folder: Path, http: dict[str, Any]) -> Path:
    config = folder / "langgraph.json"
    webhooks = {"url": {"disable_loopback": False}}
    config.write_text(json.dumps({"graphs": GRAPHS, "http": http, "webhooks": webhooks}))
    return config


@pytest.mark.compat("Webhooks", "webhook: a path", "is POSTed to a route of the project's own application, prefix included")
async def test_a_webhook_that_is_a_path_reaches_the_project(tmp_path: Path, database_url: str, valkey: ValkeyServer) -> None:
    config = configured(tmp_path, {"app": f"{FOLDER}/app.py:app", "mount_prefix": "/api"})
    with serving(database_url, valkey.url, agents={"config": config, "shipped": False}) as address:
        url = f"{address}/api"
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            run = (await client.post("/runs", json={"assistant_id": "look", "input": {}, "webhook": "/hook"})).json()
            assert (await ended(url, run))["status"] == "delivered"
            assert "hook:success" in (await client.get("/events")).json()


@pytest.mark.compat(
    "langgraph.json", "http.disable_webhooks", "a run that asks for a webhook is refused by name, others are executed", refused=True
)
async def test_where_webhooks_are_disabled_a_run_that_asks_for_one_is_refused(serve: Serve) -> None:
    with serve({"disable_webhooks": True}) as url:
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            refused = await client.post("/runs", json={"assistant_id": "look", "input": {}, "webhook": "https://example.com/hook"})
            assert (refused.status_code, refused.json()["hint"]) == (422, "http.disable_webhooks in langgraph.json")
            assert "seen" in (await client.post("/runs/wait", json={"assistant_id": "look", "input": {}})).json()


CORS = {
    "allow_origins": ["https://app.example"],
    "allow_origin_regex": r"https://.*\.team\.example",
    "allow_methods": ["GET"],
    "allow_headers": ["x-tenant"],
    "allow_credentials": True,
    "expose_headers": ["x-seen"],
    "max_age": 5,
}


@pytest.mark.compat("langgraph.json", "http.cors", "origins, methods, headers, credentials, exposed headers and max_age are as configured")
async def test_pages_of_listed_origins_get_what_cors_says(serve: Serve) -> None:
    with serve({"cors": CORS}, worker=False) as url:
        for origin in ("https://app.example", "https://a.team.example"):
            asking = {"origin": origin, "access-control-request-method": "GET", "access-control-request-headers": "x-tenant"}
            async with httpx.AsyncClient(base_url=url) as client:
                preflight = (await client.options("/info", headers=asking)).headers
            assert preflight["access-control-allow-origin"] == origin
            assert preflight["access-control-allow-methods"] == "GET"
            assert "x-tenant" in preflight["access-control-allow-headers"]
            assert preflight["access-control-max-age"] == "5"
            answer = await get(url, "/info", headers={"origin": origin})
            assert answer.status_code == 200
            assert answer.headers["access-control-allow-credentials"] == "true"
            assert "x-seen" in answer.headers["access-control-expose-headers"]
        for origin in ("https://evil.example", "https://team.example.evil.example", "https://app.example.evil.example", "null"):
            assert (await get(url, "/info", headers={"origin": origin})).status_code == 403


async def test_every_origin_counts_only_where_callers_need_a_credential(serve: Serve, key: str) -> None:
    page = {"origin": "https://any.example"}
    for everybody in ({"allow_origins": ["*"]}, {"allow_origin_regex": ".*"}):
        with serve({"cors": everybody}, worker=False) as url:
            assert (await get(url, "/info", headers=page)).status_code == 403
        with serve({"cors": everybody}, server={"auth": "keys"}, worker=False) as url:
            assert (await get(url, "/info", headers=page)).status_code == 401
            answer = await get(url, "/info", headers={**page, "x-api-key": key})
            assert answer.headers["access-control-allow-origin"] in {"*", page["origin"]}
