"""The metrics of a worker in a container: to whoever has the key, and without what the server alone measures."""

from __future__ import annotations

import socket

import httpx
import pytest

from freehold.telemetry.metrics_page import showing_metrics


@pytest.fixture
def address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize(("given", "status"), [(None, 401), ("Bearer other", 401), ("Bearer key", 200)])
def test_metrics_are_shown_to_whoever_has_the_key(address: str, given: str | None, status: int) -> None:
    with showing_metrics(address, key="key"):
        answer = httpx.get(f"http://{address}/metrics", headers={"Authorization": given} if given else {})
    assert answer.status_code == status
    assert ("freehold_worker_slots" in answer.text) is (status == 200)


def test_nothing_else_is_there(address: str) -> None:
    with showing_metrics(address, key=None):
        assert httpx.get(f"http://{address}/secrets").status_code == 404


def test_gauges_of_the_whole_system_are_left_to_the_server(address: str) -> None:
    with showing_metrics(address, key=None):
        text = httpx.get(f"http://{address}/metrics").text
    assert "process_start_time_seconds" in text
    assert "freehold_queue_depth" not in text


def test_without_an_address_nothing_is_served(address: str) -> None:
    with showing_metrics(None, key="key"), pytest.raises(httpx.ConnectError):
        httpx.get(f"http://{address}/metrics")
