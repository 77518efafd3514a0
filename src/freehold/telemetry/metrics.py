"""Every metric Freehold exports, declared once: dashboards and alerts are written against these names.

Durations are in seconds, sizes in bytes. Gauges of the whole system (queue, threads, checkpoints) are set by the server
from the database when it is scraped; everything else counts what this process did. Where processes share
`PROMETHEUS_MULTIPROC_DIR`, each writes files of its own there and holds a lock beside them for as long as it lives.
"""

from __future__ import annotations

import fcntl
import math
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import prometheus_client.values
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from freehold.config import env

#: Different values a label may take that something outside our code chooses; what comes later is counted as "other".
MAX_LABEL_VALUES = 200
OTHER = "other"

#: Gauges that only a database can tell; NaN while it does not answer.
UNKNOWN = math.nan

#: Unlike a pid it is never used again, nor by a process of another container that shares the folder.
_OWN_TOKEN = secrets.token_hex(4)


def _identity() -> str:
    return f"{os.getpid()}-{_OWN_TOKEN}"


@cache
def _hold_alive_lock(folder: Path, identity: str) -> int:
    """The descriptor of a lock that the kernel releases when this process ends, however it ends."""
    descriptor = os.open(folder / f"{identity}.alive", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


# Before the metrics below are declared: each opens its file at once. The lock comes before the files, so that no other
# process takes them for those of a dead one.
if _shared := env.get("PROMETHEUS_MULTIPROC_DIR"):
    Path(_shared).mkdir(parents=True, exist_ok=True)
    _hold_alive_lock(Path(_shared), _identity())
    prometheus_client.values.ValueClass = prometheus_client.values.MultiProcessValue(_identity)  # type: ignore[no-untyped-call]

#: From a cached answer to a run of an hour.
_RUN_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
_MODEL_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 7.5, 10, 20, 40, 60, 120, 300)
_FIRST_TOKEN_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80)
_STEP_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_SCORE_BUCKETS = (0.1, 0.2, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9)

# models, as the agents see them
LLM_TOKENS_GENERATED = Counter("llm_tokens_generated_total", "Tokens models wrote, as far as their servers say so.", ["model"])
LLM_TOKENS_INPUT = Counter("llm_tokens_input_total", "Tokens models read, as far as their servers say so.", ["model"])
LLM_INFERENCE_DURATION = Histogram(
    "llm_inference_duration_seconds",
    "Seconds from request to last token, of calls that ended or failed; cancelled ones are left out.",
    ["model"],
    buckets=_MODEL_BUCKETS,
)
LLM_TIME_TO_FIRST_TOKEN = Histogram(
    "llm_time_to_first_token_seconds", "Seconds from request to first token, of streamed calls.", ["model"], buckets=_FIRST_TOKEN_BUCKETS
)
LLM_INFERENCE_ERRORS = Counter(
    "llm_inference_errors_total",
    "Model calls that failed for good, after what retries there are; error_type is a code, e.g. model_timeout.",
    ["model", "error_type"],
)
LLM_ACTIVE_REQUESTS = Gauge("llm_active_requests", "Model calls under way now.", ["model"], multiprocess_mode="livesum")

# runs
RUNS = Counter(
    "freehold_runs_total", "Runs that workers ended; status is success, error, timeout, interrupted or rolled_back.", ["graph", "status"]
)
RUN_DURATION = Histogram(
    "freehold_run_duration_seconds", "Seconds from claim to end, of the attempt that ended a run.", ["graph"], buckets=_RUN_BUCKETS
)
STEP_DURATION = Histogram(
    "freehold_step_duration_seconds", "Seconds a superstep of a graph took, its streaming included.", ["graph"], buckets=_STEP_BUCKETS
)
WORKER_STARTS = Counter("freehold_worker_starts_total", "Worker processes that were started.")
WORKER_SLOTS = Gauge("freehold_worker_slots", "Runs that all workers can execute at once.", multiprocess_mode="livesum")
WORKER_SLOTS_BUSY = Gauge("freehold_worker_slots_busy", "Runs that workers execute now.", multiprocess_mode="livesum")
QUEUE_DEPTH = Gauge(
    "freehold_queue_depth",
    "Runs that could start now and wait for a worker.",
    multiprocess_mode="mostrecent",
)
QUEUE_AGE = Gauge("freehold_queue_age_seconds", "Seconds the first of them has waited.", multiprocess_mode="mostrecent")

# crons
CRON_FIRINGS = Counter(
    "freehold_cron_firings_total",
    "Crons that were due; outcome is fired (a run was started), skipped (this time there was none) or disabled.",
    ["outcome"],
)

# webhooks
WEBHOOK_DELIVERIES = Counter(
    "freehold_webhook_deliveries_total",
    "Tries to tell a webhook of a run's end; outcome is delivered, failed (it is tried again) or given_up.",
    ["outcome"],
)

# tools
TOOL_CALLS = Counter("freehold_tool_calls_total", "Tool calls; outcome is ok, error, timeout, invalid or cancelled.", ["tool", "outcome"])
TOOL_DURATION = Histogram("freehold_tool_duration_seconds", "Seconds a tool call took.", ["tool"], buckets=_STEP_BUCKETS)
ACTIVE_TOOL_CALLS = Gauge("freehold_active_tool_calls", "Tool calls under way now.", ["tool"], multiprocess_mode="livesum")

# documents
RETRIEVALS = Counter(
    "freehold_retrievals_total", "Searches for passages; outcome is found, nothing (none was relevant) or failed.", ["outcome"]
)
RETRIEVAL_DURATION = Histogram(
    "freehold_retrieval_duration_seconds", "Seconds a search for passages took, reading the question included.", buckets=_STEP_BUCKETS
)
RETRIEVAL_SCORE = Histogram(
    "freehold_retrieval_best_score", "Cosine similarity of the best passage of each search that found one.", buckets=_SCORE_BUCKETS
)

# the server
HTTP_REQUESTS = Counter(
    "freehold_http_requests_total",
    "Requests answered, without those of probes (/ok, /health, /metrics); status is 2xx, 3xx, 4xx or 5xx.",
    ["status"],
)
ACTIVE_THREADS = Gauge("freehold_active_threads", "Threads with a run that waits or is executed.", multiprocess_mode="mostrecent")
OPEN_STREAMS = Gauge("freehold_open_streams", "Event streams that clients hold open now.", multiprocess_mode="livesum")
CHECKPOINT_BYTES = Gauge(
    "freehold_checkpoint_bytes", "Bytes of the checkpoint tables, indexes and TOAST included.", multiprocess_mode="mostrecent"
)
KNOWLEDGE_BYTES = Gauge(
    "freehold_knowledge_bytes", "Bytes of the documents' tables, indexes and TOAST included.", multiprocess_mode="mostrecent"
)
DATABASE_WAIT = Counter(
    "freehold_database_wait_seconds_total",
    "Seconds that statements waited for a connection of their process's pool; its rate is how many wait on average.",
)

AUDIT_LOST = Counter(
    "freehold_audit_lost_total",
    "Audit entries that were not stored; reason is full (the database was away too long), strangers (too many refusals without a "
    "valid credential), failed or stopped.",
    ["reason"],
)
QUOTA_UNCHECKED = Counter(
    "freehold_quota_unchecked_total", "Runs let in without looking at runs per minute and tokens per day, because Valkey was away."
)
QUOTA_REFUSED = Counter(
    "freehold_quota_refused_total",
    "Runs refused; quota is a key of [quotas], e.g. runs_per_minute or organisation.tokens_per_day.",
    ["quota"],
)


def declared() -> list[Counter | Gauge | Histogram]:
    """Every metric above, in order: what the reference page lists."""
    return [value for value in globals().values() if isinstance(value, Counter | Gauge | Histogram)]


_seen: dict[str, set[str]] = {}


def bounded(label: str, value: str) -> str:
    """The value, or "other" once a label has as many values as a metrics server should bear.

    E.g. the name of a model: a graph may take it from its client.
    """
    seen = _seen.setdefault(label, set())
    if value in seen:
        return value
    if len(seen) >= MAX_LABEL_VALUES:
        return OTHER
    seen.add(value)
    return value


class _OwnOnly(Collector):
    """Without the gauges of the whole system, which the server alone sets: the zeros of others would count as measured."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._theirs = {metric._name for metric in declared() if isinstance(metric, Gauge) and metric._multiprocess_mode == "mostrecent"}

    def collect(self) -> Iterator[Metric]:
        return (metric for metric in self._registry.collect() if metric.name not in self._theirs)


def own_exposition() -> bytes:
    """What a process counted that is not the server, as Prometheus text."""
    registry = CollectorRegistry()
    registry.register(_OwnOnly(REGISTRY))
    return generate_latest(registry)


def exposition() -> bytes:
    """All metrics as Prometheus text: those of every process that shares `PROMETHEUS_MULTIPROC_DIR`, else this one's."""
    if not (folder := env.get("PROMETHEUS_MULTIPROC_DIR")):
        return generate_latest(REGISTRY)
    _forget_dead_processes(Path(folder))
    registry = CollectorRegistry()
    MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
    ProcessCollector(registry=registry)
    return generate_latest(registry)


def _forget_dead_processes(folder: Path) -> None:
    """What a killed process had under way is over; what it counted stays counted."""
    for file in folder.glob("gauge_live*_*.db"):
        alive = folder / f"{file.stem.rsplit('_', 1)[-1]}.alive"
        if not _is_held(alive):
            with suppress(FileNotFoundError):
                file.unlink()
    for alive in folder.glob("*.alive"):
        if not _is_held(alive):
            with suppress(FileNotFoundError):
                alive.unlink()


def _is_held(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
