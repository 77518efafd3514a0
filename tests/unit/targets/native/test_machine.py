"""What nvidia-smi and the system say becomes a value."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from freehold.core.machine import Gpu
from freehold.targets.native import machine

MIB = 1024**2


@pytest.mark.parametrize(
    ("text", "gpus"),
    [
        ("", ()),
        ("0, NVIDIA L4, 23034, 550.54.15, 8.9\n", (Gpu("NVIDIA L4", 23034 * MIB, 0, "550.54.15", "8.9"),)),
        (
            "0, NVIDIA H100 80GB HBM3, 81559, 570.1, 9.0\n1, NVIDIA H100 80GB HBM3, 81559, 570.1, 9.0\n",
            tuple(Gpu("NVIDIA H100 80GB HBM3", 81559 * MIB, index, "570.1", "9.0") for index in (0, 1)),
        ),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", ()),
        ("0, NVIDIA GB10, [N/A], 580.1, 12.1\n", ()),
    ],
    ids=["nothing", "one", "two", "a broken driver", "memory shared with the system"],
)
def test_lines_of_nvidia_smi_become_gpus(text: str, gpus: tuple[Gpu, ...]) -> None:
    assert machine.parse_nvidia_smi(text) == gpus


def test_a_container_limit_lowers_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(machine, "_CGROUP_LIMITS", (limit,))
    limit.write_text("1073741824\n")
    assert machine.detect().memory_bytes == 1073741824
    limit.write_text("max\n")
    assert machine.detect().memory_bytes > 1073741824


def test_the_machine_counts_the_cores_we_may_use() -> None:
    assert machine.detect().cpu_count == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("named", "left"), [(None, [0, 1, 2]), ("1,2", [1, 2]), ("0", [0]), ("GPU-8f2a", [0, 1, 2])])
def test_gpus_that_were_hidden_from_us_are_left_alone(named: str | None, left: list[int]) -> None:
    gpus = tuple(Gpu("NVIDIA L4", 24 * 1024**3, index) for index in range(3))
    assert [gpu.index for gpu in machine.visible(gpus, named)] == left
