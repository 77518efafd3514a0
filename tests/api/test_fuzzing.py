"""No input makes the server fail: requests generated from the OpenAPI document, right ones and wrong ones, never end in a 5xx."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import InvalidArgument, Unsatisfiable
from schemathesis import Case, GenerationMode
from tests.api.serving import serving
from tests.support.servers import ValkeyServer

#: Refused by name, on purpose, with a text that says so.
REFUSED = 501


_SETTINGS = settings(deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck), phases=[Phase.generate])


@pytest.fixture(scope="module")
def url(api_database_url: str, valkey: ValkeyServer) -> Iterator[str]:
    with serving(api_database_url, valkey.url) as address:
        yield address


@pytest.fixture(scope="module")
def known(url: str) -> dict[str, str]:
    """Objects that are there, so that requests get past the search for them."""
    with httpx.Client(base_url=url, timeout=30) as client:
        thread = client.post("/threads", json={"graph_id": "echo"}).raise_for_status().json()["thread_id"]
        run = client.post(f"/threads/{thread}/runs", json={"assistant_id": "echo", "input": {"text": "x"}}).raise_for_status().json()
        client.get(f"/threads/{thread}/runs/{run['run_id']}/join").raise_for_status()
    return {"thread_id": thread, "run_id": run["run_id"], "assistant_id": "echo", "graph_id": "echo"}


@pytest.mark.parametrize("examples", [8, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_input_makes_the_server_fail(url: str, known: dict[str, str], mode: GenerationMode, examples: int) -> None:
    document = schemathesis.openapi.from_url(f"{url}/openapi.json")
    failures: list[str] = []
    with requests.Session() as session:
        for found in document.get_all_operations():
            _ask(found.ok(), session, known, mode, examples, failures)
    assert not failures, "\n".join(failures)


def _ask(
    operation: Any, session: requests.Session, known: dict[str, str], mode: GenerationMode, examples: int, failures: list[str]
) -> None:
    @given(operation.as_strategy(generation_mode=mode))
    @settings(_SETTINGS, max_examples=examples)
    def ask(case: Case) -> None:
        _aim(case, known)
        try:
            with session.request(**case.as_transport_kwargs(), timeout=2, stream=True) as answer:
                if answer.status_code >= 500 and answer.status_code != REFUSED:
                    failures.append(f"{operation.label}: {answer.status_code} {answer.text[:200]} for {case.as_curl_command()[:600]}")
        except requests.exceptions.ReadTimeout:
            return  # it waits for a run, or for events
        except (UnicodeError, requests.exceptions.RequestException):
            return  # the client itself cannot send this

    with suppress(Unsatisfiable, InvalidArgument):  # nothing can be generated: an operation without any input
        ask()


def _aim(case: Case, known: dict[str, str]) -> None:
    """Half of the requests are about objects that are there, and most runs are of a graph that is."""
    parameters: Any = case.path_parameters
    if case.method != "DELETE":
        for name, value in list((parameters or {}).items()):
            if name in known and sum(str(value).encode()) % 2:
                parameters[name] = known[name]
    if isinstance(case.body, dict) and isinstance(case.body.get("assistant_id"), str):
        case.body["assistant_id"] = known["assistant_id"]
