"""What the recorded vocabulary makes of each engine's own series, asked of promtool: also of engines that do not run in tests."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from freehold.config import paths
from freehold.core.progress import Silent
from freehold.stack.monitoring.recording import rules_file
from freehold.targets.native import debian

#: A histogram of requests of which all took between one and two seconds, one more each second.
_BUCKETS = (("1", "0x600"), ("2", "0+1x600"), ("+Inf", "0+1x600"))


def histogram(name: str, labels: str) -> dict[str, str]:
    return {f'{name}_bucket{{{labels},le="{le}"}}': values for le, values in _BUCKETS}


def promtool(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (program,) = asyncio.run(debian.fetch("prometheus", ("prometheus",), "promtool", paths.cache(), Silent(), share=True))[-1:]
    return subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    (tmp_path / "recording.yml").write_text(rules_file({"small": 4}))
    return tmp_path


def check(folder: Path, series: dict[str, str], expected: dict[str, dict[str, float]]) -> None:
    """After five minutes of these series, recorded names have these values by their labels."""
    tests: dict[str, Any] = {
        "rule_files": ["recording.yml"],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "1s",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [
                    {
                        "expr": name,
                        "eval_time": "5m",
                        "exp_samples": [{"labels": f"{name}{labels}", "value": value} for labels, value in all_.items()],
                    }
                    for name, all_ in expected.items()
                ],
            }
        ],
    }
    (folder / "test.yml").write_text(json.dumps(tests))
    done = promtool("test", "rules", "test.yml", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_finds_nothing_wrong_with_the_file(rules: Path) -> None:
    done = promtool("check", "rules", "recording.yml", folder=rules)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_an_engine_that_names_its_model_and_measures_everything(rules: Path, engine: str) -> None:
    running, waiting, cache = {
        "vllm": ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"),
        "sglang": ("num_running_reqs", "num_queue_reqs", "token_usage"),
    }[engine]
    labels = 'model_name="big",job="model"'
    series = {
        f"{engine}:{running}{{{labels}}}": "3x600",
        f"{engine}:{waiting}{{{labels}}}": "2x600",
        f"{engine}:{cache}{{{labels}}}": "0.5x600",
        f"{engine}:generation_tokens_total{{{labels}}}": "0+40x600",
        **histogram(f"{engine}:time_to_first_token_seconds", labels),
    }
    ours = {'llm_active_requests{model="big"}': "9x600", **histogram("llm_time_to_first_token_seconds", 'model="big"')}
    of = '{model="big",source="engine"}'
    check(
        rules,
        {**series, **ours},
        {
            "freehold:model_requests_running": {of: 3},
            "freehold:model_requests_waiting": {of: 2},
            "freehold:model_kv_cache_usage": {of: 0.5},
            "freehold:model_tokens_generated:rate1m": {of: 40},
            "freehold:model_ttft_seconds:p50": {of: 1.5},
        },
    )


def test_two_llama_cpp_of_one_model_are_one_model_whose_latencies_our_agents_tell(rules: Path) -> None:
    each = {f'llamacpp:requests_processing{{model="small",instance="{number}"}}': "1x600" for number in (1, 2)}
    waiting = {f'llamacpp:requests_deferred{{model="small",instance="{number}"}}': "1x600" for number in (1, 2)}
    tokens = {f'llamacpp:tokens_predicted_total{{model="small",instance="{number}"}}': "0+10x600" for number in (1, 2)}
    of, seen = '{model="small",source="engine"}', '{model="small",source="agents"}'
    check(
        rules,
        {**each, **waiting, **tokens, **histogram("llm_time_to_first_token_seconds", 'model="small"')},
        {
            "freehold:model_requests_running": {of: 2},
            "freehold:model_requests_waiting": {of: 2},
            "freehold:model_kv_cache_usage": {of: 0.5},
            "freehold:model_tokens_generated:rate1m": {of: 20},
            "freehold:model_ttft_seconds:p50": {seen: 1.5},
        },
    )


def test_an_engine_without_metrics_is_what_our_agents_see_of_it(rules: Path) -> None:
    of = '{model="away",source="agents"}'
    check(
        rules,
        {
            'llm_active_requests{model="away",instance="1"}': "2x600",
            'llm_tokens_generated_total{model="away",instance="1"}': "0+7x600",
            **histogram("llm_inference_duration_seconds", 'model="away"'),
            'llm_inference_duration_seconds_count{model="away"}': "0+1x600",
            'llm_inference_errors_total{model="away",error_type="model_timeout"}': "0+0.25x600",
        },
        {
            "freehold:model_requests_running": {of: 2},
            "freehold:model_requests_waiting": {},
            "freehold:model_tokens_generated:rate1m": {of: 7},
            "freehold:model_e2e_seconds:p95": {of: 1.95},
            "freehold:model_errors:ratio5m": {of: 0.25},
        },
    )


def test_where_nothing_happens_there_is_no_latency_and_no_share(rules: Path) -> None:
    idle = {name: "5x600" for name in histogram("llm_time_to_first_token_seconds", 'model="idle"')}
    runs = {'freehold_runs_total{graph="a",status="success"}': "5x600", 'freehold_runs_total{graph="a",status="error"}': "1x600"}
    check(rules, {**idle, **runs}, {"freehold:model_ttft_seconds:p95": {}, "freehold:run_errors:ratio5m": {}})


def test_what_never_failed_has_a_share_of_failures_of_zero(rules: Path) -> None:
    check(
        rules,
        {'freehold_runs_total{graph="a",status="success"}': "0+1x600", 'freehold_tool_calls_total{tool="t",outcome="error"}': "0+1x600"},
        {"freehold:run_errors:ratio5m": {'{graph="a"}': 0}, "freehold:tool_success:ratio5m": {'{tool="t"}': 0}},
    )


def test_a_gpu_a_disk_and_processors_are_shares(rules: Path) -> None:
    cpus = {f'node_cpu_seconds_total{{instance="n",cpu="{cpu}",mode="idle"}}': "0+0.25x600" for cpu in (0, 1)}
    check(
        rules,
        {
            **cpus,
            'DCGM_FI_DEV_FB_USED{gpu="0"}': "30x600",
            'DCGM_FI_DEV_FB_FREE{gpu="0"}': "10x600",
            'node_filesystem_avail_bytes{fstype="ext4",mountpoint="/"}': "25x600",
            'node_filesystem_size_bytes{fstype="ext4",mountpoint="/"}': "100x600",
        },
        {
            "freehold:gpu_memory_usage": {'{gpu="0"}': 0.75},
            "freehold:cpu_usage:rate1m": {'{instance="n"}': 0.75},
            "freehold:disk_usage": {'{fstype="ext4",mountpoint="/"}': 0.75},
        },
    )
