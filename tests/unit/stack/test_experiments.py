"""MLflow and its store for files, as values."""

from __future__ import annotations

from typing import Any

from freehold.config.settings import Settings
from freehold.core.machine import GIB, Machine
from freehold.stack.plan import Stack, plan
from freehold.stack.service import Service

CPU = Machine("Linux", "x86_64", 8, 16 * GIB)


def planned(**stack: Any) -> Stack:
    return plan(Settings.model_validate({"stack": {"services": ["experiments"], **stack}}), CPU, version="1")


def service(name: str, **stack: Any) -> Service:
    found = planned(**stack).service(name)
    assert found is not None
    return found


def test_the_bucket_is_there_before_mlflow_starts() -> None:
    names = [service.name for service in planned().ordered()]
    assert names.index("seaweedfs") < names.index("bucket") < names.index("mlflow")
    assert service("bucket").kind == "task"


def test_no_key_is_in_a_command_line() -> None:
    texts = [part for one in planned().services for part in one.args]
    assert [text for text in texts if "${secret:" in text] == []
    assert "${secret_file:files_key}" in service("bucket").args


def test_the_store_asks_for_a_key_and_its_other_parts_for_a_signature() -> None:
    store = service("seaweedfs")
    assert store.env["AWS_SECRET_ACCESS_KEY"] == service("mlflow").env["AWS_SECRET_ACCESS_KEY"] == "${secret:files_key}"
    assert {name for name in store.env if name.startswith("WEED_JWT")} == {
        "WEED_JWT_SIGNING_KEY",
        "WEED_JWT_SIGNING_READ_KEY",
        "WEED_JWT_FILER_SIGNING_KEY",
        "WEED_JWT_FILER_SIGNING_READ_KEY",
    }
    assert "-disableHttp=true" in store.args


def test_only_s3_and_metrics_leave_loopback_in_a_container() -> None:
    listening = [part for part in service("seaweedfs", target="compose").args if "${listen}" in part]
    assert listening == ["-s3.ip.bind=${listen}", "-metricsIp=${listen}"]


def test_every_port_it_opens_is_checked_before_a_start() -> None:
    numbers = [port.number for port in service("seaweedfs").ports]
    assert sorted(numbers) == [8333, 8334, 8335, 8336, 8337, 18333, 18334, 18335, 18336]


def test_the_space_of_files_is_bounded() -> None:
    assert {"-volume.max=80", "-master.volumeSizeLimitMB=256"} <= set(service("seaweedfs").args)  # 20 GiB


def test_mlflow_says_nothing_to_its_makers_and_answers_to_its_own_names() -> None:
    mlflow = service("mlflow")
    assert mlflow.env["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert mlflow.env["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert mlflow.args[-1] == "127.0.0.1,localhost,127.0.0.1:5000,localhost:5000"
    assert mlflow.ports[0].host == "127.0.0.1"
