"""Model servers, whatever engine they run: how much they do, how fast, how full they are."""

from __future__ import annotations

from freehold.stack.monitoring.dashboards.panel import Dashboard, Panel, Query, Row, Variable

_MODEL = '{model=~"$model"}'


def _latency(title: str, about: str, recorded: str) -> Panel:
    queries = tuple(Query(f"{recorded}:{quantile}{_MODEL}", f"{{{{model}}}} {quantile}") for quantile in ("p50", "p95", "p99"))
    return Panel(title, about, queries, "s", width=12)


_WORK = (
    Panel(
        "Tokens written",
        "Tokens a second. llama.cpp counts a request's tokens when it ends, so its line jumps.",
        (Query(f"freehold:model_tokens_generated:rate1m{_MODEL}", "{{model}}"),),
        "short",
    ),
    Panel(
        "Tokens read",
        "Tokens of prompts a second.",
        (Query(f"freehold:model_tokens_input:rate1m{_MODEL}", "{{model}}"),),
        "short",
    ),
    Panel(
        "Requests",
        "Under way, and waiting in the model server for a place. Some waiting is good use; more than are served is too little model.",
        (
            Query(f"freehold:model_requests_running{_MODEL}", "{{model}} running"),
            Query(f"freehold:model_requests_waiting{_MODEL}", "{{model}} waiting"),
        ),
        "short",
    ),
)

_SPEED = (
    _latency(
        "First token",
        "From request to first token: waiting, then reading the prompt. Measured by the engine, or by the agents where it does not.",
        "freehold:model_ttft_seconds",
    ),
    _latency("Whole answer", "From request to last token.", "freehold:model_e2e_seconds"),
)

_FULL = (
    Panel(
        "KV cache",
        "Share of the cache that holds conversations under way. Full: requests wait, or give up their place and start over. With "
        "llama.cpp, the share of its slots that are taken.",
        (Query(f"freehold:model_kv_cache_usage{_MODEL}", "{{model}}"),),
        "percentunit",
        most=1,
        steps=((0.8, "yellow"), (0.9, "red")),
    ),
    Panel(
        "Calls of agents",
        "Model calls a second that ended, as the agents count them.",
        (Query(f"freehold:model_requests:rate5m{_MODEL}", "{{model}}"),),
        "reqps",
    ),
    Panel(
        "Calls that fail",
        "Share of the agents' model calls that failed for good, after what retries there are.",
        (Query(f"freehold:model_errors:ratio5m{_MODEL}", "{{model}}"),),
        "percentunit",
        steps=((0.01, "yellow"), (0.05, "red")),
    ),
)

_VLLM = (
    Panel(
        "Prompt tokens found in the cache",
        "Share of the prompts' tokens that need not be computed, because an earlier request began with the same ones.",
        (
            Query(
                'sum by (model_name) (rate(vllm:prefix_cache_hits_total{model_name=~"$model"}[$__rate_interval]))'
                ' / (sum by (model_name) (rate(vllm:prefix_cache_queries_total{model_name=~"$model"}[$__rate_interval])) > 0)',
                "{{model_name}}",
            ),
        ),
        "percentunit",
        most=1,
    ),
    Panel(
        "Requests put back",
        "Requests a second that lost their place in the KV cache and start over. More than now and then: the cache is too small.",
        (Query('sum by (model_name) (rate(vllm:num_preemptions_total{model_name=~"$model"}[$__rate_interval]))', "{{model_name}}"),),
        "reqps",
    ),
    Panel(
        "Where the time goes",
        "Seconds of a request on average: waiting for a place, reading the prompt, writing the answer.",
        tuple(
            Query(
                f'sum(rate(vllm:request_{part}_time_seconds_sum{{model_name=~"$model"}}[$__rate_interval]))'
                f' / (sum(rate(vllm:request_{part}_time_seconds_count{{model_name=~"$model"}}[$__rate_interval])) > 0)',
                part,
            )
            for part in ("queue", "prefill", "decode")
        ),
        "s",
        stacked=True,
    ),
)

_LLAMA_CPP = (
    Panel(
        "Requests decoded together",
        "How many conversations each step of llama.cpp works on, on average since it started. More at once is more tokens in all.",
        (Query(f"llamacpp:n_busy_slots_per_decode{_MODEL}", "{{model}}"),),
        "short",
        width=12,
    ),
    Panel(
        "Speed of one step",
        "Tokens a second while it really reads or writes. Answers of one token take no time it measures, and do not count.",
        (
            Query(
                f"rate(llamacpp:tokens_predicted_total{_MODEL}[$__rate_interval])"
                f" / (rate(llamacpp:tokens_predicted_seconds_total{_MODEL}[$__rate_interval]) > 0.001)",
                "{{model}} writing",
            ),
            Query(
                f"rate(llamacpp:prompt_tokens_total{_MODEL}[$__rate_interval])"
                f" / (rate(llamacpp:prompt_seconds_total{_MODEL}[$__rate_interval]) > 0.001)",
                "{{model}} reading",
            ),
        ),
        "short",
        width=12,
    ),
)

_GATEWAY = (
    Panel(
        "Requests to the gateway",
        "Model requests a second that came through the gateway, by the name they asked for.",
        (Query("sum by (requested_model) (rate(litellm_proxy_total_requests_metric_total[$__rate_interval]))", "{{requested_model}}"),),
        "reqps",
        width=12,
    ),
    Panel(
        "Tokens through the gateway",
        "Tokens a second, read and written.",
        (
            Query("sum(rate(litellm_input_tokens_metric_total[$__rate_interval]))", "read"),
            Query("sum(rate(litellm_output_tokens_metric_total[$__rate_interval]))", "written"),
        ),
        "short",
        width=12,
    ),
)

DASHBOARD = Dashboard(
    uid="freehold-models",
    title="Freehold / Model servers",
    about="How much model servers do, how fast they are and how full. The same panels for every engine.",
    rows=(
        Row("Work", _WORK),
        Row("Speed", _SPEED),
        Row("Room and errors", _FULL),
        Row("Only with vLLM", _VLLM, "vllm"),
        Row("Only with llama.cpp", _LLAMA_CPP, "llama.cpp"),
        Row("Only with the gateway", _GATEWAY, "gateway"),
    ),
    variables=(Variable("model", "Model", "freehold:model_requests_running", "model"),),
)
