"""What is found before a start would fail."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from freehold.config.settings import Settings
from freehold.core.errors import Incompatible
from freehold.core.machine import GIB, Gpu, Machine
from freehold.operate.checks import examine_start, refuse
from freehold.operate.doctor import Finding

CPU = Machine("Linux", "x86_64", 8, 16 * GIB)
GPU = replace(CPU, memory_bytes=64 * GIB, gpus=(Gpu("NVIDIA L4", 24 * GIB),))


@pytest.fixture(autouse=True)
def _without_docker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


async def findings(tree: dict[str, Any], machine: Machine, folder: Path) -> list[Finding]:
    return await examine_start(Settings.model_validate(tree), machine, folder)


def of(found: list[Finding], check: str) -> set[tuple[str, str]]:
    return {(finding.level, finding.message) for finding in found if finding.check == check}


async def test_a_taken_port_is_named_with_what_holds_it(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        native = await findings({"server": {"port": port}}, CPU, tmp_path)
        contained = await findings({"stack": {"target": "compose"}, "edge": {"host": "127.0.0.1", "port": port}}, CPU, tmp_path)
    assert [level for level, message in of(native, "ports") if f"port {port} on 127.0.0.1 is taken" in message] == ["warn"]
    assert [level for level, message in of(contained, "ports") if f"port {port} on 127.0.0.1 is taken" in message] == ["fail"]


async def test_without_docker_containers_are_refused(tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {"stack": {"target": "compose"}, "edge": {"host": "127.0.0.1", "port": 18443, "redirect_port": 18080}}
    )
    with pytest.raises(Incompatible, match="Docker is not installed") as refused:
        await refuse(settings, CPU, tmp_path)
    assert "install Docker Engine" in str(refused.value.hint)


async def test_gpus_that_are_not_there_or_too_small_are_named(tmp_path: Path) -> None:
    tree = {"machine": {"gpus": [{"name": "NVIDIA L4", "memory_gb": 24}], "memory_gb": 64}}
    small = replace(GPU, gpus=(Gpu("NVIDIA T4", 16 * GIB),))
    assert of(await findings(tree, CPU, tmp_path), "gpu") == {("fail", "model uses GPU 0, which this machine has not")}
    assert of(await findings(tree, small, tmp_path), "gpu") == {("fail", "model was planned for 24 GiB on GPU 0, which has 16 GiB")}
    assert of(await findings(tree, GPU, tmp_path), "gpu") == {("ok", "model: GPU 0, NVIDIA L4")}


async def test_a_name_that_leads_nowhere_is_said(tmp_path: Path) -> None:
    tree = {"stack": {"services": ["edge"]}, "edge": {"names": ["localhost", "nowhere.invalid"]}}
    levels = {level for level, message in of(await findings(tree, CPU, tmp_path), "dns") if "nowhere.invalid" in message}
    assert levels == {"warn"}


async def test_a_stack_that_cannot_be_planned_is_the_only_finding(tmp_path: Path) -> None:
    (found,) = await findings({"model": {"engine": "vllm"}}, CPU, tmp_path)
    assert (found.check, found.level) == ("plan", "fail")


async def test_images_and_room_are_looked_at_for_containers_alone(tmp_path: Path) -> None:
    native, contained = await findings({}, CPU, tmp_path), await findings({"stack": {"target": "compose"}}, CPU, tmp_path)
    assert not of(native, "images") and not of(native, "disk")
    assert {level for level, _ in of(contained, "images")} == {"ok"}
    assert len(of(contained, "disk")) == 1
