"""Takes the measures that name a bottleneck: from /metrics of the server and of the model servers themselves, so without Prometheus.

A stack in which nothing waits is asked once. Where something does, it is asked again for a second or two: what a moment shows of a
place that does one thing after the other says little.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import fmean

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from freehold.core.errors import Unhealthy
from freehold.operate.bottleneck import Bottleneck, Load, ModelLoad, find
from freehold.targets.native import leftovers, secrets
from freehold.targets.native.connections import connections
from freehold.targets.native.home import Home
from freehold.targets.native.process import Process

#: How often a stack in which something waits is asked, and the pause between.
SAMPLES = 10
PAUSE_SECONDS = 0.15
_SECONDS = 5.0

#: Share of the machine's processors from which on it is the stack itself that keeps them busy.
OWN_SHARE = 0.4

#: What engines call requests under way, requests that wait, and the share of their cache in use.
_ENGINES = (
    ("llamacpp:requests_processing", "llamacpp:requests_deferred", None),
    ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"),
    ("sglang:num_running_reqs", "sglang:num_queue_reqs", "sglang:token_usage"),
)
#: Variables in which model servers get their keys, and ours the one that opens its metrics alone.
_KEYS = ("LLAMA_API_KEY", "VLLM_API_KEY")
_METRICS_KEY = "FREEHOLD_METRICS_KEY"


@dataclass(frozen=True)
class Endpoint:
    """Where metrics are read. `name` is the service."""

    name: str
    url: str
    key: str | None = None


@dataclass(frozen=True)
class Endpoints:
    """What is asked: our server, and each model server that we run. `places`: requests a model server takes at once, where known."""

    server: Endpoint
    models: tuple[Endpoint, ...] = ()
    places: int | None = None


async def bottleneck(home: Home, *, places: int | None = None) -> Bottleneck:
    """What the running stack of a state folder waits for.

    Args:
        places: conversations that each model server answers at once (`model.parallel`).

    Raises:
        Unhealthy: the stack or its server is not running.
        NotConfigured: no stack was ever started there.
    """
    urls = connections(home.path)
    processes = home.rendered().processes
    models = tuple(endpoint for process in processes if (endpoint := _model_server(process, home)))
    keys = (_secret(process, _METRICS_KEY, home) for process in processes if process.name == "server")
    server = Endpoint("server", f"{urls.server_url}/metrics", next(keys, None) or urls.api_key)
    own = [process for left in leftovers.read(home.processes_file) if (process := left.process())]
    return find(await measure(Endpoints(server, models, places), own))


async def measure(endpoints: Endpoints, own: Sequence[psutil.Process] = ()) -> Load:
    """The load now; over a second or two where something waits.

    Args:
        own: processes of the stack; their children count too.

    Raises:
        Unhealthy: the server does not answer.
    """
    psutil.cpu_percent()  # the first call begins what the next one tells
    worked = _seconds_of(own)
    async with httpx.AsyncClient(timeout=_SECONDS) as client:
        samples = [await _sample(client, endpoints)]
        while _waits(samples) and len(samples) < SAMPLES:
            await asyncio.sleep(PAUSE_SECONDS)
            samples.append(await _sample(client, endpoints))
    return _mean(samples, _seconds_of(own) - worked)


def _seconds_of(own: Iterable[psutil.Process]) -> float:
    """Processor seconds they have used so far."""
    total = 0.0
    for process in own:
        for one in (process, *_children(process)):
            with suppress(psutil.Error):
                total += sum(one.cpu_times()[:2])
    return total


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _processors(worked: float, seconds: float) -> float:
    """Share of the machine's processors that is busy; only the stack's own where other programs keep the rest busy."""
    if seconds <= 0:
        return 0.0
    own = worked / seconds / (psutil.cpu_count() or 1)
    return max(own, psutil.cpu_percent() / 100) if own >= OWN_SHARE else own


@dataclass(frozen=True)
class _Sample:
    at: float
    #: Sums over what the server shows, by name; tools by theirs.
    server: dict[str, float]
    tools: dict[str, float]
    models: tuple[ModelLoad, ...]


def _waits(samples: Sequence[_Sample]) -> bool:
    """Whether anything does, so that it is worth to look longer."""
    last = samples[-1]
    return last.server.get("freehold_queue_depth", 0.0) >= 1 or any(not model.has_room for model in last.models)


async def _sample(client: httpx.AsyncClient, endpoints: Endpoints) -> _Sample:
    text, *models = await asyncio.gather(_read(client, endpoints.server), *(_read(client, model) for model in endpoints.models))
    if text is None:
        raise Unhealthy("the agent server does not show its metrics", hint="`freehold logs server` says why")
    loads = (_model_load(endpoint.name, said, endpoints.places) for endpoint, said in zip(endpoints.models, models, strict=True) if said)
    tools: dict[str, float] = {}
    sums: dict[str, float] = {}
    for name, labels, value in _values(text):
        sums[name] = sums.get(name, 0.0) + value
        if name == "freehold_active_tool_calls":
            tools[labels["tool"]] = tools.get(labels["tool"], 0.0) + value
    return _Sample(asyncio.get_running_loop().time(), sums, tools, tuple(load for load in loads if load))


async def _read(client: httpx.AsyncClient, endpoint: Endpoint) -> str | None:
    headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
    try:
        answer = await client.get(endpoint.url, headers=headers)
    except httpx.HTTPError:
        return None
    return answer.text if answer.status_code == 200 else None


def _model_load(service: str, text: str, places: int | None) -> ModelLoad | None:
    sums: dict[str, float] = {}
    for name, _, value in _values(text):
        sums[name] = sums.get(name, 0.0) + value
    for running, waiting, cache in _ENGINES:
        if running in sums:
            return ModelLoad(service, sums[running], sums.get(waiting, 0.0), sums.get(cache) if cache else None, places)
    return None


def _values(text: str) -> Iterable[tuple[str, dict[str, str], float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def _mean(samples: Sequence[_Sample], worked: float) -> Load:
    def mean(name: str) -> float:
        return fmean(sample.server.get(name, 0.0) for sample in samples)

    first, last = samples[0], samples[-1]
    waited = "freehold_database_wait_seconds_total"
    seconds = last.at - first.at
    return Load(
        queue_depth=mean("freehold_queue_depth"),
        queue_age_seconds=last.server.get("freehold_queue_age_seconds", 0.0),
        slots=mean("freehold_worker_slots"),
        busy=mean("freehold_worker_slots_busy"),
        model_calls=mean("llm_active_requests"),
        tool_calls={tool: fmean(sample.tools.get(tool, 0.0) for sample in samples) for tool in last.tools},
        statements_waiting=(last.server.get(waited, 0.0) - first.server.get(waited, 0.0)) / seconds if seconds > 0 else 0.0,
        models=tuple(_mean_model(model, samples) for model in last.models),
        processors=_processors(worked, seconds),
        memory=1 - psutil.virtual_memory().available / psutil.virtual_memory().total,
    )


def _mean_model(last: ModelLoad, samples: Sequence[_Sample]) -> ModelLoad:
    seen = [model for sample in samples for model in sample.models if model.service == last.service]
    return ModelLoad(
        last.service, fmean(model.running for model in seen), fmean(model.waiting for model in seen), last.cache_usage, last.places
    )


def _model_server(process: Process, home: Home) -> Endpoint | None:
    key = next((found for name in _KEYS if (found := _secret(process, name, home))), None)
    if not process.ports or key is None:
        return None
    port = process.ports[0]
    return Endpoint(process.name, f"http://{'127.0.0.1' if port.host in ('0.0.0.0', '') else port.host}:{port.number}/metrics", key)  # noqa: S104


def _secret(process: Process, variable: str, home: Home) -> str | None:
    """What a process is told in a variable."""
    text = process.env.get(variable)
    return secrets.resolve(home.secrets, {variable: text})[variable] if text else None
