"""The server about itself."""

from __future__ import annotations

import re
from importlib.metadata import version

import httpx
import pytest
from langgraph_sdk.client import LangGraphClient

from freehold import __version__


@pytest.mark.compat("System", "GET /ok: check_db", "says that the server answers; with check_db, what its services do")
async def test_ok_answers_at_once_and_looks_deeper_where_asked(http: httpx.AsyncClient) -> None:
    assert (await http.get("/ok")).json() == {"ok": True}
    assert (await http.get("/ok?check_db=1")).json() == {"ok": True, "services": {"postgres": "ok", "valkey": "ok"}}
    assert (await http.get("/health")).json()["ok"] is True


@pytest.mark.compat("System", "GET /info", "versions, and flags that SDKs go by")
async def test_info_tells_versions_and_what_is_supported(http: httpx.AsyncClient) -> None:
    info = (await http.get("/info")).json()
    assert info["version"] == __version__
    assert info["langgraph_py_version"] == version("langgraph")
    assert info["flags"] == {
        "assistants": True,
        "crons": True,
        "langsmith": False,
        "langsmith_tracing_replicas": False,
        "strict_resume": True,
    }


@pytest.mark.compat("System", "GET /", "ok for programs, a page for people")
async def test_the_root_is_a_page_for_people_and_ok_for_programs(http: httpx.AsyncClient) -> None:
    assert (await http.get("/")).json() == {"ok": True}
    page = await http.get("/", headers={"accept": "text/html,application/xhtml+xml"})
    assert page.headers["content-type"].startswith("text/html")
    assert "talker" in page.text
    assert "there_is_no_such_graph" in page.text  # the broken graph and why


@pytest.mark.compat("System", "GET /docs", "the API to read and try, with assets of our own")
async def test_pages_load_nothing_from_elsewhere(http: httpx.AsyncClient) -> None:
    for path in ("/", "/docs"):
        page = await http.get(path, headers={"accept": "text/html"})
        loaded = re.findall(r"""(?:src|href)=["']([^"']+)""", page.text)
        assert loaded and not [address for address in loaded if re.match(r"(?!data:)[a-z]+:|//", address)], loaded
        assert "default-src 'none'" in page.headers["content-security-policy"]
    for asset in re.findall(r"/docs/[\w.-]+", (await http.get("/docs")).text):
        assert (await http.get(asset)).status_code == 200


@pytest.mark.compat("System", "GET /openapi.json", "bodies and answers of every route, operations of unique names")
async def test_openapi_describes_bodies_and_answers_for_client_generators(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    wait = document["paths"]["/threads/{thread_id}/runs/wait"]["post"]
    assert wait["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/RunOnThread"}
    assert {"thread_id", "status", "values"} <= set(document["components"]["schemas"]["ThreadShown"]["properties"])
    operations = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(operations) == len(set(operations))


@pytest.mark.compat("System", "GET /metrics", "Prometheus text: open streams, the queue and its age")
async def test_metrics_count_streams_and_the_queue(http: httpx.AsyncClient, sdk: LangGraphClient) -> None:
    thread_id = (await sdk.threads.create())["thread_id"]
    run = await sdk.runs.create(thread_id, "waits", input={"text": "x"})
    await sdk.runs.create(thread_id, "echo", input={"text": "y"})  # queued behind it
    async for _ in sdk.runs.join_stream(thread_id, run["run_id"]):
        text = (await http.get("/metrics")).text
        break
    assert re.search(r"^freehold_open_streams [1-9]", text, re.MULTILINE)
    assert re.search(r"^freehold_queue_depth [1-9]", text, re.MULTILINE)
    assert "freehold_queue_age_seconds " in text
    await sdk.runs.cancel(thread_id, run["run_id"], wait=True)


@pytest.mark.compat("System", "GET /metrics?format=json", "Prometheus text alone is served", refused=True)
async def test_metrics_in_another_format_are_refused_by_name(http: httpx.AsyncClient) -> None:
    refused = await http.get("/metrics", params={"format": "json"})
    assert refused.status_code in {422, 501}
    assert "json" in refused.json()["detail"]
