"""One vocabulary over what different engines call their metrics, as Prometheus recording rules.

Panels and alerts ask for `freehold:…` names only, so they do not go blank when the engine changes. Every series about a model
has two labels: `model`, the name it is served under, and `source`: "engine" where its server measured, "agents" where it does not
measure this and our agents did, who see it through the network and the gateway.

vLLM and SGLang name the model themselves (`model_name`). llama.cpp does not: its scrape target must carry the label `model`.
Names as of vLLM 0.33, llama.cpp b11434, SGLang 0.5. llama.cpp shows neither latencies nor its cache: latencies are the agents',
and for the cache stands the share of its slots that are taken, each of which owns an equal part of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

#: Recorded quantiles, as the last part of a name and as a share.
QUANTILES: Mapping[str, float] = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True)
class Rule:
    """One recorded series: `record` is its name, `expr` its PromQL, `about` a sentence for the reference."""

    record: str
    expr: str
    about: str


@dataclass(frozen=True)
class Group:
    """Rules that are evaluated together, in this order."""

    name: str
    rules: tuple[Rule, ...]


def groups(slots: Mapping[str, int] | None = None) -> tuple[Group, ...]:
    """All recording rules.

    Args:
        slots: conversations that all llama.cpp of a model serve at once (`--parallel` of each), by model.
    """
    return (
        Group("freehold-models", tuple(_models(slots or {}))),
        Group("freehold-runs", tuple(_runs())),
        Group("freehold-machine", tuple(_machine())),
    )


def rules_file(slots: Mapping[str, int] | None = None) -> str:
    """The rule file that Prometheus reads."""
    lines = ["groups:"]
    for group in groups(slots):
        lines += [f"  - name: {group.name}", "    rules:"]
        for rule in group.rules:
            lines += [f"      # {rule.about}", f"      - record: {rule.record}", f"        expr: {json.dumps(rule.expr)}"]
    return "\n".join(lines) + "\n"


def _models(slots: Mapping[str, int]) -> Iterable[Rule]:
    yield Rule(
        "freehold:model_requests_running",
        _first(
            _engine(_named("vllm:num_requests_running"), _named('sglang:num_running_reqs{priority=""}'), "llamacpp:requests_processing"),
            _agents("sum by (model) (llm_active_requests)"),
        ),
        "Requests a model works on now.",
    )
    yield Rule(
        "freehold:model_requests_waiting",
        _engine(_named("vllm:num_requests_waiting"), _named('sglang:num_queue_reqs{priority=""}'), "llamacpp:requests_deferred"),
        "Requests that wait in the model server for a place. Ollama and remote endpoints do not show it.",
    )
    taken = [f"sum by (model) (llamacpp:requests_processing{{model={json.dumps(model)}}}) / {count}" for model, count in slots.items()]
    yield Rule(
        "freehold:model_kv_cache_usage",
        _engine(_named("vllm:kv_cache_usage_perc"), _named('sglang:token_usage{priority=""}'), *taken, by="max"),
        "Share of the KV cache that is in use, 0 to 1; with llama.cpp, of its slots.",
    )
    yield _tokens("generated", "vllm:generation_tokens_total", "sglang:generation_tokens_total", "llamacpp:tokens_predicted_total")
    yield _tokens("input", "vllm:prompt_tokens_total", "sglang:prompt_tokens_total", "llamacpp:prompt_tokens_total")
    yield Rule(
        "freehold:model_tokens_generated_busy:rate1m",
        "freehold:model_tokens_generated:rate1m and on (model) freehold:model_requests_running > 0",
        "Tokens a model wrote, a second, while it worked on something: idle, they say nothing of how fast it is.",
    )
    for what, engine, ours in (
        ("ttft", "time_to_first_token_seconds", "llm_time_to_first_token_seconds"),
        ("e2e", "e2e_request_latency_seconds", "llm_inference_duration_seconds"),
    ):
        yield from _latencies(what, engine, ours)
    yield Rule(
        "freehold:model_requests:rate5m",
        _agents("sum by (model) (rate(llm_inference_duration_seconds_count[5m]))"),
        "Model calls of our agents that ended, a second.",
    )
    yield Rule(
        "freehold:model_errors:ratio5m",
        _agents(
            "(sum by (model) (rate(llm_inference_errors_total[5m])) or 0 * sum by (model) (rate(llm_inference_duration_seconds_count[5m])))"
            " / (sum by (model) (rate(llm_inference_duration_seconds_count[5m])) > 0)"
        ),
        "Share of the model calls of our agents that failed for good, 0 to 1.",
    )


def _tokens(kind: str, *engines: str) -> Rule:
    *named, llama_cpp = engines
    return Rule(
        f"freehold:model_tokens_{kind}:rate1m",
        _first(
            _engine(*(_named(f"rate({name}[1m])") for name in named), f"rate({llama_cpp}[1m])"),
            _agents(f"sum by (model) (rate(llm_tokens_{kind}_total[1m]))"),
        ),
        f"Tokens a model {'wrote' if kind == 'generated' else 'read'}, a second. llama.cpp counts them when a request ends.",
    )


def _latencies(what: str, engine: str, ours: str) -> Iterable[Rule]:
    """Where nothing was asked there is no latency (NaN), and no series: a panel then shows a gap, and an alert resolves."""
    meaning = {"ttft": "Seconds to the first token", "e2e": "Seconds a request took"}[what]
    buckets = " or ".join(_named(f"rate({name}:{engine}_bucket[5m])") for name in ("vllm", "sglang"))
    for name, share in QUANTILES.items():
        measured = f"histogram_quantile({share}, sum by (model, le) ({buckets}))"
        seen = f"histogram_quantile({share}, sum by (model, le) (rate({ours}_bucket[5m])))"
        yield Rule(
            f"freehold:model_{what}_seconds:{name}",
            _first(_from(measured, "engine"), _from(seen, "agents")) + " >= 0",
            f"{meaning}, {name} over five minutes.",
        )


def _runs() -> Iterable[Rule]:
    yield Rule("freehold:runs_ended:rate5m", "sum by (graph, status) (rate(freehold_runs_total[5m]))", "Runs that ended, a second.")
    yield Rule(
        "freehold:run_errors:ratio5m",
        _ratio('freehold_runs_total{status=~"error|timeout"}', "freehold_runs_total", "graph"),
        "Share of runs that ended in an error or ran out of time, 0 to 1.",
    )
    yield from _quantiles("freehold:run_seconds", "freehold_run_duration_seconds", "graph", "Seconds from claim to end of a run")
    yield from _quantiles("freehold:step_seconds", "freehold_step_duration_seconds", "graph", "Seconds a superstep of a graph took")
    yield Rule("freehold:tool_calls:rate5m", "sum by (tool, outcome) (rate(freehold_tool_calls_total[5m]))", "Tool calls, a second.")
    yield Rule(
        "freehold:tool_success:ratio5m",
        _ratio('freehold_tool_calls_total{outcome="ok"}', "freehold_tool_calls_total", "tool"),
        "Share of tool calls that ended well, 0 to 1.",
    )
    yield from _quantiles("freehold:tool_seconds", "freehold_tool_duration_seconds", "tool", "Seconds a tool call took")
    yield from _quantiles("freehold:retrieval_seconds", "freehold_retrieval_duration_seconds", "", "Seconds a search for passages took")
    yield Rule(
        "freehold:retrieval_found:ratio5m",
        _ratio('freehold_retrievals_total{outcome="found"}', "freehold_retrievals_total", ""),
        "Share of searches that found something relevant, 0 to 1.",
    )
    yield Rule(
        "freehold:http_errors:ratio5m",
        _ratio('freehold_http_requests_total{status="5xx"}', "freehold_http_requests_total", ""),
        "Share of requests to the agent server that it failed to answer (5xx), 0 to 1; probes are left out.",
    )
    yield Rule(
        "freehold:workers_busy:ratio",
        "sum(freehold_worker_slots_busy) / (sum(freehold_worker_slots) > 0)",
        "Share of the workers' places that execute a run, 0 to 1.",
    )
    yield Rule(
        "freehold:database_waiting:rate1m",
        "sum(rate(freehold_database_wait_seconds_total[1m]))",
        "Statements that wait for a connection of their process's pool, on average.",
    )


def _machine() -> Iterable[Rule]:
    yield Rule(
        "freehold:gpu_memory_usage",
        "DCGM_FI_DEV_FB_USED / (DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE)",
        "Share of a GPU's memory in use, 0 to 1.",
    )
    yield Rule(
        "freehold:cpu_usage:rate1m",
        '1 - sum by (instance) (rate(node_cpu_seconds_total{mode=~"idle|iowait"}[1m]))'
        ' / count by (instance) (node_cpu_seconds_total{mode="idle"})',
        "Share of the machine's processors that works, 0 to 1.",
    )
    yield Rule(
        "freehold:memory_usage",
        "1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes",
        "Share of the machine's memory that is not available any more, 0 to 1.",
    )
    yield Rule(
        "freehold:disk_usage",
        '1 - node_filesystem_avail_bytes{fstype!~"tmpfs|ramfs|squashfs"}'
        ' / (node_filesystem_size_bytes{fstype!~"tmpfs|ramfs|squashfs"} > 0)',
        "Share of a file system that is taken, 0 to 1.",
    )


def _quantiles(record: str, histogram: str, by: str, meaning: str) -> Iterable[Rule]:
    labels = f"{by}, le" if by else "le"
    for name, share in QUANTILES.items():
        expr = f"histogram_quantile({share}, sum by ({labels}) (rate({histogram}_bucket[5m]))) >= 0"
        yield Rule(f"{record}:{name}", expr, f"{meaning}, {name} over five minutes.")


def _ratio(part: str, whole: str, by: str) -> str:
    """`part` may be a series that does not exist yet, which is 0; where nothing happened there is no share."""
    total = f"sum by ({by}) (rate({whole}[5m]))"
    return f"(sum by ({by}) (rate({part}[5m])) or 0 * {total}) / ({total} > 0)"


def _named(expr: str) -> str:
    """The model as the engine names it, in the label `model`."""
    return f'label_replace({expr}, "model", "$1", "model_name", "(.+)")'


def _engine(*exprs: str, by: str = "sum") -> str:
    return _from(f"{by} by (model) ({' or '.join(exprs)})", "engine")


def _agents(expr: str) -> str:
    return _from(expr, "agents")


def _from(expr: str, source: str) -> str:
    return f'label_replace({expr}, "source", "{source}", "", "")'


def _first(measured: str, seen: str) -> str:
    """What the engine measured; what the agents saw for models whose engine does not measure it."""
    return f"({measured} or on (model) {seen})"
