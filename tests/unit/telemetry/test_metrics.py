"""Metrics that several processes share."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from freehold.telemetry import metrics

_PROCESS = """
import sys
from freehold.telemetry import metrics
metrics.OPEN_STREAMS.inc(3)
metrics.RUNS.labels("echo", "success").inc(2)
print("ready", flush=True)
sys.stdin.read()
"""


#: Dashboards and alerts are written against these.
FIXED = {
    "llm_tokens_generated_total": ("model",),
    "llm_tokens_input_total": ("model",),
    "llm_inference_duration_seconds": ("model",),
    "llm_time_to_first_token_seconds": ("model",),
    "llm_inference_errors_total": ("model", "error_type"),
    "llm_active_requests": ("model",),
    "freehold_runs_total": ("graph", "status"),
    "freehold_run_duration_seconds": ("graph",),
    "freehold_worker_starts_total": (),
    "freehold_worker_slots": (),
    "freehold_worker_slots_busy": (),
    "freehold_queue_depth": (),
    "freehold_queue_age_seconds": (),
    "freehold_step_duration_seconds": ("graph",),
    "freehold_cron_firings_total": ("outcome",),
    "freehold_webhook_deliveries_total": ("outcome",),
    "freehold_tool_calls_total": ("tool", "outcome"),
    "freehold_tool_duration_seconds": ("tool",),
    "freehold_active_tool_calls": ("tool",),
    "freehold_retrievals_total": ("outcome",),
    "freehold_retrieval_duration_seconds": (),
    "freehold_retrieval_best_score": (),
    "freehold_http_requests_total": ("status",),
    "freehold_active_threads": (),
    "freehold_open_streams": (),
    "freehold_checkpoint_bytes": (),
    "freehold_knowledge_bytes": (),
    "freehold_database_wait_seconds_total": (),
    "freehold_audit_lost_total": ("reason",),
    "freehold_quota_unchecked_total": (),
    "freehold_quota_refused_total": ("quota",),
}


def named(metric: Any) -> str:
    (family,) = metric.describe()
    return str(family.name) + ("_total" if family.type == "counter" else "")


def test_names_and_labels_are_those_that_were_promised() -> None:
    assert {named(metric): metric._labelnames for metric in metrics.declared()} == FIXED


def test_the_reference_page_lists_the_metrics_there_are_and_no_other() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "metrics.md").read_text()
    assert sorted(re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE)) == sorted(map(named, metrics.declared()))


def scrape(folder: Path) -> str:
    """What a new process shows of all that share the folder."""
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    program = "import sys; from freehold.telemetry import metrics; sys.stdout.write(metrics.exposition().decode())"
    return subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True).stdout


def start(folder: Path) -> subprocess.Popen[str]:
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    process = subprocess.Popen([sys.executable, "-c", _PROCESS], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "ready\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_live_gauges_are_summed_over_processes_that_live_and_counters_over_all(tmp_path: Path) -> None:
    first, second = start(tmp_path), start(tmp_path)
    try:
        both = scrape(tmp_path)
        assert "\nfreehold_open_streams 6.0\n" in both
        assert '\nfreehold_runs_total{graph="echo",status="success"} 4.0\n' in both
        end(first)
        one = scrape(tmp_path)
        assert "\nfreehold_open_streams 3.0\n" in one
        assert '\nfreehold_runs_total{graph="echo",status="success"} 4.0\n' in one
    finally:
        end(first)
        end(second)
    assert "\nfreehold_open_streams 0.0\n" in scrape(tmp_path)


def test_a_stopped_process_is_not_taken_for_a_dead_one(tmp_path: Path) -> None:
    process = start(tmp_path)
    try:
        process.send_signal(signal.SIGSTOP)
        assert "\nfreehold_open_streams 3.0\n" in scrape(tmp_path)
        assert "\nfreehold_open_streams 3.0\n" in scrape(tmp_path)
    finally:
        process.send_signal(signal.SIGCONT)
        end(process)


def test_the_folder_is_made_where_it_is_missing_and_dead_processes_leave_no_lock(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    end(start(folder))
    scrape(folder)
    scrape(folder)
    assert len(list(folder.glob("*.alive"))) == 1  # of the last scrape itself
    assert list(folder.glob("gauge_livesum_*.db")) != []


def test_a_label_that_clients_may_choose_has_no_end_of_values() -> None:
    names = [f"model-{number}" for number in range(metrics.MAX_LABEL_VALUES + 5)]
    assert [metrics.bounded("test", name) for name in names[: metrics.MAX_LABEL_VALUES]] == names[: metrics.MAX_LABEL_VALUES]
    assert {metrics.bounded("test", name) for name in names[metrics.MAX_LABEL_VALUES :]} == {metrics.OTHER}
    assert metrics.bounded("test", names[0]) == names[0]
