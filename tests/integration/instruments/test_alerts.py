"""Alerts of a real stack, by causing what they are about: real Prometheus, Alertmanager and exporters, and a webhook that hears of them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import psycopg
import pytest
from tests.integration.instruments.rule_cases import CASES, Case
from tests.integration.instruments.watched import Exposition, Watched, until, watched

from freehold.targets.native.connections import connections

pytestmark = pytest.mark.timeout(900)

#: Conditions that cannot be caused here: GPUs, an engine under load, a full disk.
SHOWN = frozenset(
    {
        *("GpuMemoryFull", "GpuHot", "GpuErrors", "ModelQueues", "KvCacheFull", "InferenceSlow", "EdgeDown", "DiskFull", "DiskFilling"),
        *("MemoryFull", "ClockWrong", "ValkeyNotPersisted", "PostgresTransactionHangs", "PostgresDeadlocks", "WebhooksGivenUp"),
        *("AuditLost", "CheckpointsGrow", "WorkersRestart"),
    }
)


def shown() -> tuple[Case, ...]:
    """Those of vLLM and of DCGM; the names that our own processes show here too are left to them."""
    return tuple(case for case in CASES if case.alert in SHOWN and not any("llm_" in name or "llamacpp:" in name for name in _names(case)))


def _names(case: Case) -> Iterator[str]:
    yield from (*case.level, *case.counter)


EXPOSITION = Exposition(shown())


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watched(tmp_path_factory.mktemp("watched"), EXPOSITION) as stack:
        yield stack


def test_everything_is_measured(stack: Watched) -> None:
    expected = {"server", "node-exporter", "postgres-exporter", "valkey-exporter", "prometheus", "alertmanager", "recorded"}
    found: dict[str, str] = {}

    def all_up() -> bool:
        targets = httpx.get(f"{stack.prometheus}/api/v1/targets", timeout=30).json()["data"]["activeTargets"]
        found.update({target["labels"]["job"]: target["health"] for target in targets})
        return found == dict.fromkeys(expected, "up")

    until(all_up, lambda: f"{found}")


def test_every_rule_is_evaluated_without_an_error(stack: Watched) -> None:
    failed: dict[str, str] = {}

    def all_well() -> bool:
        groups = httpx.get(f"{stack.prometheus}/api/v1/rules", timeout=30).json()["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        failed.clear()
        failed.update({rule["name"]: rule.get("lastError", rule["health"]) for rule in rules if rule["health"] != "ok"})
        return bool(rules) and not failed

    until(all_well, lambda: f"{failed}")


def test_the_key_of_metrics_opens_metrics_alone(stack: Watched) -> None:
    key = {"Authorization": f"Bearer {stack.secret('metrics_key')}"}
    assert httpx.get(f"{stack.url}/metrics", headers=key).status_code == 200
    assert httpx.get(f"{stack.url}/metrics").status_code == 401
    assert httpx.get(f"{stack.url}/metrics", headers={"Authorization": "Bearer other"}).status_code == 401
    assert httpx.get(f"{stack.url}/info", headers=key).status_code == 401
    assert httpx.post(f"{stack.url}/threads/search", headers=key, json={}).status_code == 401


def test_the_role_that_measures_the_database_sees_no_row(stack: Watched) -> None:
    app = psycopg.conninfo.conninfo_to_dict(connections(stack.home.path).database_url)
    monitor = {**app, "user": "freehold_monitor", "password": stack.secret("postgres_monitor")}
    with psycopg.connect(**monitor) as connection:
        assert connection.execute("SELECT count(*) > 0 FROM pg_stat_activity").fetchone() == (True,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM freehold.threads")


def test_a_store_that_is_down_is_told_to_people_and_so_is_its_return(stack: Watched) -> None:
    with stack.kept_down("valkey"):
        until(lambda: ("ValkeyDown", "firing") in stack.receiver.heard, lambda: f"{stack.receiver.heard}, {stack.firing()}")
    until(lambda: ("ValkeyDown", "resolved") in stack.receiver.heard, lambda: f"{stack.receiver.heard}, {stack.firing()}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("process", "alerts"),
    [
        ("worker", ("NoWorkers",)),
        ("server", ("TargetDown",)),
        ("postgres", ("PostgresDown",)),
        ("node-exporter", ("InstrumentDown",)),
    ],
)
def test_a_service_that_stays_down_fires_its_alerts_and_its_return_resolves_them(
    stack: Watched, process: str, alerts: tuple[str, ...]
) -> None:
    with stack.kept_down(process):
        stack.until_fires(*alerts)
    stack.until_resolved(*alerts)


@pytest.mark.slow
def test_runs_tools_and_models_that_fail_are_told(stack: Watched) -> None:
    def fail() -> bool:
        for graph, text in (("fails", "now"), ("asks_nobody", "hello?"), *[("digs", "-1")] * 4):
            stack.run_graph(graph, text)
        firing.update(stack.firing())
        return firing >= {"RunsFail", "ModelErrors", "ToolsFail"}

    firing: set[str] = set()
    until(fail, lambda: f"{firing}")
    stack.until_resolved("RunsFail", "ModelErrors", "ToolsFail")


@pytest.mark.slow
def test_runs_that_nobody_claims_are_told(stack: Watched) -> None:
    worker = stack.pid("worker")
    assert worker
    os.kill(worker, signal.SIGSTOP)
    try:
        stack.run_graph("digs", "0.01", wait=False)
        time.sleep(60)
        stack.until_fires("QueueWaits")
    finally:
        os.kill(worker, signal.SIGCONT)
    stack.until_resolved("QueueWaits")


@pytest.mark.slow
def test_connections_that_run_out_are_told(stack: Watched) -> None:
    url = connections(stack.home.path).database_url
    with ExitStack() as open_connections:
        with pytest.raises(psycopg.OperationalError):
            while True:
                open_connections.enter_context(psycopg.connect(url))
        stack.until_fires("PostgresConnections")
    stack.until_resolved("PostgresConnections")


@pytest.mark.slow
def test_what_cannot_be_caused_here_fires_and_resolves_on_metrics_as_its_exporter_shows_them(stack: Watched) -> None:
    names = {case.alert for case in EXPOSITION.cases}
    assert names == SHOWN
    try:
        EXPOSITION.well = False
        stack.until_fires(*names)
    finally:
        EXPOSITION.well = True
    stack.until_resolved(*names)
