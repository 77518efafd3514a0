"""What this machine has: cores and memory within the limits of a container, and its GPUs."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import psutil

from freehold.config import env
from freehold.core.machine import Gpu, Machine

_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_NVIDIA_FIELDS = ("index", "name", "memory.total", "driver_version", "compute_cap")
_MIB = 1024**2


def detect() -> Machine:
    """This machine as a value; takes a fraction of a second where an NVIDIA driver has to be asked."""
    return Machine(
        system=platform.system(),
        architecture={"amd64": "x86_64", "aarch64": "arm64"}.get(platform.machine().lower(), platform.machine().lower()),
        cpu_count=_cpu_count(),
        memory_bytes=min([psutil.virtual_memory().total, *_memory_limits()]),
        gpus=_gpus(),
    )


def _cpu_count() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_limits() -> list[int]:
    limits = []
    for path in _CGROUP_LIMITS:
        try:
            limits.append(int(path.read_text().strip()))
        except (OSError, ValueError):  # no such cgroup, or "max"
            continue
    return limits


def _gpus() -> tuple[Gpu, ...]:
    try:
        answer = subprocess.run(  # noqa: S603 - fixed arguments
            ["nvidia-smi", f"--query-gpu={','.join(_NVIDIA_FIELDS)}", "--format=csv,noheader,nounits"],  # noqa: S607 - found on PATH, as its users do
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return visible(parse_nvidia_smi(answer.stdout), env.get("CUDA_VISIBLE_DEVICES")) if answer.returncode == 0 else ()


def visible(gpus: tuple[Gpu, ...], named: str | None) -> tuple[Gpu, ...]:
    """Those that the user left us, by number as in `"1,2"`; all where nothing is set or they are named in another way."""
    numbers = [part.strip() for part in (named or "").split(",")]
    if not all(number.isdigit() for number in numbers):
        return gpus
    return tuple(gpu for gpu in gpus if str(gpu.index) in numbers)


def parse_nvidia_smi(text: str) -> tuple[Gpu, ...]:
    """`"0, NVIDIA L4, 23034, 550.54, 8.9"` → one Gpu; lines that say something else are left out."""
    gpus = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != len(_NVIDIA_FIELDS) or not fields[0].isdigit() or not fields[2].isdigit():
            continue
        index, name, memory, driver, capability = fields
        gpus.append(Gpu(name, int(memory) * _MIB, int(index), driver, capability))
    return tuple(gpus)
