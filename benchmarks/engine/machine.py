"""What the machine gives and what processes take of it: CPU seconds of process trees, the disk's fsync rate."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

#: Bytes of a small commit's write-ahead log page.
_PAGE = b"\0" * 8192


def cpu_seconds(roots: Iterable[int]) -> float:
    """User and system time of these processes and all below them, those that ended and were waited for included."""
    total = 0.0
    for root in roots:
        with suppress(psutil.NoSuchProcess):
            tree = psutil.Process(root)
            for process in (tree, *tree.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    total += sum(process.cpu_times()[:4])
    return total


def fsyncs_per_second(folder: Path, seconds: float = 0.5) -> float:
    """One writer's rate of an 8 KiB write and fdatasync, which is what a commit waits for."""
    synchronise = getattr(os, "fdatasync", os.fsync)
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        handle = file.fileno()
        os.write(handle, _PAGE * 64)
        os.fsync(handle)
        count, began = 0, time.perf_counter()
        while (taken := time.perf_counter() - began) < seconds:
            os.pwrite(handle, _PAGE, (count % 64) * len(_PAGE))
            synchronise(handle)
            count += 1
    return count / taken


def described() -> str:
    """E.g. `2 cores, 23 GiB, load 0.3`."""
    gib = psutil.virtual_memory().total / 2**30
    return f"{os.cpu_count()} cores, {gib:.0f} GiB, load {os.getloadavg()[0]:.1f}"
