"""What Prometheus is told to measure, and with which key."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from freehold.config.settings import Settings
from freehold.core.machine import GIB, Gpu, Machine
from freehold.stack.plan import Stack, plan

CPU = Machine("Linux", "x86_64", 8, 16 * GIB)
GPU = Machine("Linux", "x86_64", 16, 64 * GIB, (Gpu("NVIDIA L4", 24 * GIB),))


def planned(machine: Machine = CPU, *, target: str = "native", **sections: Any) -> Stack:
    tree = {"stack": {"services": ["monitoring"], "target": target}, **sections}
    return plan(Settings.model_validate(tree), machine, version="1")


def jobs(stack: Stack) -> dict[str, dict[str, Any]]:
    prometheus = stack.service("prometheus")
    assert prometheus
    text = next(file.text for file in prometheus.files if file.name == "prometheus.yml")
    return {job["job_name"]: job for job in yaml.safe_load(text)["scrape_configs"]}


def test_every_service_with_metrics_has_a_job() -> None:
    stack = planned()
    assert set(jobs(stack)) == {service.name for service in stack.services if service.metrics}
    assert {"model", "server", "node-exporter", "postgres-exporter", "valkey-exporter"} <= set(jobs(stack))


def test_keys_are_read_from_files() -> None:
    found = jobs(planned())
    assert found["server"]["authorization"] == {"credentials_file": "${secret_file:metrics_key}"}
    assert found["model"]["authorization"] == {"credentials_file": "${secret_file:model_key}"}
    assert "authorization" not in found["node-exporter"]


def test_llama_cpp_which_does_not_name_its_model_gets_its_name_as_a_label() -> None:
    stack = planned()
    assert jobs(stack)["model"]["static_configs"][0]["labels"] == {"model": stack.engine.model}


def test_without_containers_the_server_shows_what_its_workers_count() -> None:
    stack = planned(worker={"count": 3})
    assert "worker" not in jobs(stack)
    for name in ("server", "worker"):
        service = stack.service(name)
        assert service
        assert service.env["PROMETHEUS_MULTIPROC_DIR"] == "${home}/metrics"
        assert "FREEHOLD_METRICS_ADDRESS" not in service.env


def test_in_containers_each_worker_is_found_by_name_and_shows_its_own() -> None:
    stack = planned(target="compose", worker={"count": 3})
    assert jobs(stack)["worker"]["dns_sd_configs"][0]["names"] == ["${host:worker}"]
    for name in ("server", "worker"):
        service = stack.service(name)
        assert service
        assert "PROMETHEUS_MULTIPROC_DIR" not in service.env


def test_without_monitoring_nobody_is_told_of_a_key_of_metrics() -> None:
    stack = plan(Settings.model_validate({}), CPU, version="1")
    assert "metrics_key" not in {secret.name for secret in stack.secrets}
    assert all("FREEHOLD_METRICS_KEY" not in service.env for service in stack.services)


@pytest.mark.parametrize(
    ("machine", "target", "gpus", "measured"),
    [
        (GPU, "compose", "auto", True),
        (GPU, "compose", "off", False),
        (GPU, "native", "auto", False),
        (GPU, "native", "on", True),
        (CPU, "compose", "on", False),
    ],
)
def test_gpus_are_measured_where_there_are_some_and_an_exporter_can_be_had(
    machine: Machine, target: str, gpus: str, measured: bool
) -> None:
    assert ("gpu-exporter" in jobs(planned(machine, target=target, monitoring={"gpus": gpus}))) is measured


def test_stores_of_ones_own_are_not_measured() -> None:
    found = jobs(planned(database={"url": "postgresql://db/x"}, redis={"url": "redis://cache"}))
    assert not {"postgres-exporter", "valkey-exporter"} & set(found)


def test_what_only_prometheus_asks_listens_on_loopback() -> None:
    stack = planned()
    measuring = [
        service for service in stack.services if service.name.endswith("-exporter") or service.name in ("prometheus", "alertmanager")
    ]
    assert {port.host for service in measuring for port in service.ports} == {"127.0.0.1"}
