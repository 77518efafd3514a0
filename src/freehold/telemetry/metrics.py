"""Every metric Freehold exports, declared once: dashboards and alerts are written against these names.

Durations are in seconds, sizes in bytes. Gauges of the whole system (queue, threads, checkpoints) are set by the server
from the database when it is scraped; everything else counts what this process did.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from freehold.config import env

#: From a cached answer to a run of an hour.
_RUN_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
_MODEL_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 7.5, 10, 20, 40, 60, 120, 300)
_FIRST_TOKEN_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80)
_STEP_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

# models, as the agents see them
LLM_TOKENS_GENERATED = Counter("llm_tokens_generated_total", "Tokens models wrote.", ["model"])
LLM_TOKENS_INPUT = Counter("llm_tokens_input_total", "Tokens models read.", ["model"])
LLM_INFERENCE_DURATION = Histogram(
    "llm_inference_duration_seconds", "Model calls, from request to last token.", ["model"], buckets=_MODEL_BUCKETS
)
LLM_TIME_TO_FIRST_TOKEN = Histogram(
    "llm_time_to_first_token_seconds", "From request to first token, streamed.", ["model"], buckets=_FIRST_TOKEN_BUCKETS
)
LLM_INFERENCE_ERRORS = Counter("llm_inference_errors_total", "Model calls that failed.", ["model", "error_type"])
LLM_ACTIVE_REQUESTS = Gauge("llm_active_requests", "Model calls under way.", ["model"], multiprocess_mode="livesum")

# runs
RUNS = Counter("freehold_runs_total", "Runs that ended.", ["graph", "status"])
RUN_DURATION = Histogram("freehold_run_duration_seconds", "Runs, from claim to end.", ["graph"], buckets=_RUN_BUCKETS)
STEP_DURATION = Histogram("freehold_step_duration_seconds", "Supersteps of graphs.", ["graph"], buckets=_STEP_BUCKETS)
QUEUE_DEPTH = Gauge("freehold_queue_depth", "Runs waiting to be claimed.", multiprocess_mode="mostrecent")
QUEUE_AGE = Gauge("freehold_queue_age_seconds", "Age of the oldest run waiting.", multiprocess_mode="mostrecent")

# tools
TOOL_CALLS = Counter("freehold_tool_calls_total", "Tool calls; outcome is ok, error, timeout or invalid.", ["tool", "outcome"])
TOOL_DURATION = Histogram("freehold_tool_duration_seconds", "Tool calls.", ["tool"], buckets=_STEP_BUCKETS)

# the server
ACTIVE_THREADS = Gauge("freehold_active_threads", "Threads with a run pending or running.", multiprocess_mode="mostrecent")
OPEN_STREAMS = Gauge("freehold_open_streams", "Event streams clients hold open.", multiprocess_mode="livesum")
CHECKPOINT_BYTES = Gauge("freehold_checkpoint_bytes", "Size of the checkpoint tables.", multiprocess_mode="mostrecent")


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
        pid = file.stem.rsplit("_", 1)[-1]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            with suppress(FileNotFoundError):
                file.unlink()
