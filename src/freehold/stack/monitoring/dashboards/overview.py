"""Is it well, and what does it cost? The page to open first."""

from __future__ import annotations

from freehold.stack.monitoring.dashboards.panel import Dashboard, Panel, Query, Row

_WELL = (
    Panel(
        "Services up",
        "Share of everything that is measured and answers. Below 100 %: Services in Data stores says which one is away.",
        (Query("sum(up) / count(up)"),),
        "percentunit",
        "stat",
        steps=((1.0, "green"),),
        width=4,
        height=4,
    ),
    Panel(
        "Runs that fail",
        "Share of the runs of the last five minutes that ended in an error or ran out of time. No value: none ended.",
        (
            Query(
                'sum(freehold:runs_ended:rate5m{status=~"error|timeout"} or 0 * freehold:runs_ended:rate5m)'
                " / (sum(freehold:runs_ended:rate5m) > 0)"
            ),
        ),
        "percentunit",
        "stat",
        steps=((0.01, "yellow"), (0.05, "red")),
        width=4,
        height=4,
    ),
    Panel(
        "Requests that fail",
        "Share of HTTP requests that the agent server could not answer (5xx), over five minutes.",
        (Query("freehold:http_errors:ratio5m"),),
        "percentunit",
        "stat",
        steps=((0.01, "yellow"), (0.05, "red")),
        width=4,
        height=4,
    ),
    Panel(
        "Longest wait",
        "How long the first run in the queue has waited for a worker. Over some seconds: the next row shows what is full.",
        (Query("max(freehold_queue_age_seconds)"),),
        "s",
        "stat",
        steps=((5, "yellow"), (30, "red")),
        width=4,
        height=4,
    ),
    Panel(
        "First token, p95",
        "In 19 of 20 model calls the first word came within this time.",
        (Query("max(freehold:model_ttft_seconds:p95)"),),
        "s",
        "stat",
        steps=((2, "yellow"), (5, "red")),
        width=4,
        height=4,
    ),
    Panel(
        "Tools that succeed",
        "Share of tool calls of the last five minutes that ended well.",
        (Query('sum(freehold:tool_calls:rate5m{outcome="ok"} or 0 * freehold:tool_calls:rate5m) / (sum(freehold:tool_calls:rate5m) > 0)'),),
        "percentunit",
        "stat",
        steps=((0.8, "green"),),
        width=4,
        height=4,
    ),
)

_FULL = (
    Panel(
        "What is full",
        "The parts a run passes through, as shares of what they can take. The one at the top is the bottleneck; so says `freehold status`.",
        (
            Query("freehold:workers_busy:ratio", "workers"),
            Query("max(freehold:model_kv_cache_usage)", "model: KV cache"),
            Query("max(freehold:cpu_usage:rate1m)", "processors"),
            Query("max(freehold:memory_usage)", "memory"),
            Query("max(freehold:disk_usage)", "disk"),
        ),
        "percentunit",
        most=1,
        steps=((0.9, "red"),),
        width=12,
    ),
    Panel(
        "What waits",
        "Runs waiting for a worker, requests waiting in model servers, statements waiting for a database connection.",
        (
            Query("max(freehold_queue_depth)", "runs"),
            Query("sum(freehold:model_requests_waiting)", "model requests"),
            Query("freehold:database_waiting:rate1m", "database statements"),
        ),
        "short",
        width=12,
    ),
    Panel(
        "Runs that end",
        "By how they ended.",
        (Query("sum by (status) (freehold:runs_ended:rate5m)", "{{status}}"),),
        "ops",
        stacked=True,
    ),
    Panel(
        "How long runs take",
        "From the moment a worker takes a run to its end.",
        (
            Query("max(freehold:run_seconds:p50)", "p50"),
            Query("max(freehold:run_seconds:p95)", "p95"),
            Query("max(freehold:run_seconds:p99)", "p99"),
        ),
        "s",
    ),
    Panel(
        "Active conversations and open streams",
        "Conversations with a run that waits or is executed, and event streams that clients hold open.",
        (Query("max(freehold_active_threads)", "conversations"), Query("sum(freehold_open_streams)", "streams")),
        "short",
    ),
)

_COST = (
    Panel(
        "Tokens written",
        "Tokens that models wrote for agents in the time shown.",
        (Query("sum(increase(llm_tokens_generated_total[$__range]))"),),
        "short",
        "stat",
        width=6,
        height=4,
    ),
    Panel(
        "Tokens read",
        "Tokens that models read for agents in the time shown: prompts, documents, the conversation so far.",
        (Query("sum(increase(llm_tokens_input_total[$__range]))"),),
        "short",
        "stat",
        width=6,
        height=4,
    ),
    Panel(
        "Tokens per run",
        "Read and written, on average over the time shown. A rise without a new agent is a prompt or a conversation that grows.",
        (
            Query(
                "(sum(increase(llm_tokens_generated_total[$__range])) + sum(increase(llm_tokens_input_total[$__range])))"
                " / (sum(increase(freehold_runs_total[$__range])) > 0)"
            ),
        ),
        "short",
        "stat",
        width=6,
        height=4,
    ),
    Panel(
        "Model seconds per run",
        "Seconds a run kept a model busy, on average over the time shown. Times the price of a GPU second: what a run costs when "
        "one is served at a time; divided by those served at once, what it really costs.",
        (Query("sum(increase(llm_inference_duration_seconds_sum[$__range])) / (sum(increase(freehold_runs_total[$__range])) > 0)"),),
        "s",
        "stat",
        width=6,
        height=4,
    ),
    Panel(
        "Tokens by model",
        "Tokens a second that agents had models write and read.",
        (
            Query("sum by (model) (rate(llm_tokens_generated_total[$__rate_interval]))", "{{model}} written"),
            Query("sum by (model) (rate(llm_tokens_input_total[$__rate_interval]))", "{{model}} read"),
        ),
        "short",
        width=12,
    ),
    Panel(
        "Model time by model",
        "Calls under way on average: seconds of model work in each second.",
        (Query("sum by (model) (rate(llm_inference_duration_seconds_sum[$__rate_interval]))", "{{model}}"),),
        "short",
        stacked=True,
        width=12,
    ),
)

DASHBOARD = Dashboard(
    uid="freehold-overview",
    title="Freehold / Overview",
    about="Is it well, what is full, what does it cost?",
    rows=(Row("Is it well?", _WELL), Row("What is full?", _FULL), Row("What does it cost?", _COST)),
)
