"""Runs of agents: how many, how long, where they spend their time, which tools fail."""

from __future__ import annotations

from freehold.stack.monitoring.dashboards.panel import Dashboard, Panel, Query, Row, Variable

_GRAPH = 'graph=~"$graph"'
_TOOL = 'tool=~"$tool"'


def _quantiles(title: str, about: str, recorded: str, labels: str, by: str) -> Panel:
    queries = tuple(Query(f"{recorded}:{quantile}{{{labels}}}", f"{{{{{by}}}}} {quantile}") for quantile in ("p50", "p95"))
    return Panel(title, about, queries, "s")


_RUNS = (
    Panel(
        "Runs that end",
        "By agent and by how they ended.",
        (Query(f"freehold:runs_ended:rate5m{{{_GRAPH}}}", "{{graph}} {{status}}"),),
        "ops",
        stacked=True,
    ),
    Panel(
        "Runs that fail",
        "Share of each agent's runs that ended in an error or ran out of time.",
        (Query(f"freehold:run_errors:ratio5m{{{_GRAPH}}}", "{{graph}}"),),
        "percentunit",
        steps=((0.01, "yellow"), (0.05, "red")),
    ),
    _quantiles("How long runs take", "From the moment a worker takes a run to its end.", "freehold:run_seconds", _GRAPH, "graph"),
    Panel(
        "Queue",
        "Runs that could start and wait for a worker.",
        (Query("max(freehold_queue_depth)", "waiting"),),
        "short",
    ),
    Panel(
        "Longest wait",
        "How long the first run in the queue has waited.",
        (Query("max(freehold_queue_age_seconds)", "first in the queue"),),
        "s",
        steps=((5, "yellow"), (30, "red")),
    ),
    Panel(
        "Workers",
        "Places of all workers, and how many execute a run. All busy and runs waiting: more workers, if the model can take them.",
        (Query("sum(freehold_worker_slots)", "places"), Query("sum(freehold_worker_slots_busy)", "busy")),
        "short",
    ),
)

_INSIDE = (
    Panel(
        "What runs do now",
        "Model calls and tool calls under way, beside the places that execute a run. What is in neither works in the agent's own code.",
        (
            Query("sum(llm_active_requests)", "model calls"),
            Query("sum(freehold_active_tool_calls)", "tool calls"),
            Query("sum(freehold_worker_slots_busy)", "runs"),
        ),
        "short",
    ),
    _quantiles("How long steps take", "A superstep of an agent, its streaming included.", "freehold:step_seconds", _GRAPH, "graph"),
    Panel(
        "Model calls that fail",
        "A second, by model and kind of error.",
        (Query("sum by (model, error_type) (rate(llm_inference_errors_total[$__rate_interval]))", "{{model}} {{error_type}}"),),
        "ops",
    ),
)

_TOOLS = (
    Panel(
        "Tool calls",
        "A second, by tool and outcome.",
        (Query(f"freehold:tool_calls:rate5m{{{_TOOL}}}", "{{tool}} {{outcome}}"),),
        "ops",
        stacked=True,
    ),
    Panel(
        "Tools that succeed",
        "Share of the calls of each tool that ended well. A model that calls a tool wrongly (invalid) counts as a failure.",
        (Query(f"freehold:tool_success:ratio5m{{{_TOOL}}}", "{{tool}}"),),
        "percentunit",
        "bargauge",
        steps=((0.8, "green"),),
        most=1,
    ),
    _quantiles("How long tools take", "By tool.", "freehold:tool_seconds", _TOOL, "tool"),
)

_CLIENTS = (
    Panel(
        "Requests",
        "HTTP requests a second that the agent server answered, by the first digit of the status.",
        (Query("sum by (status) (rate(freehold_http_requests_total[$__rate_interval]))", "{{status}}"),),
        "reqps",
        stacked=True,
    ),
    Panel(
        "Active conversations",
        "Conversations with a run that waits or is executed.",
        (Query("max(freehold_active_threads)", "conversations"),),
        "short",
    ),
    Panel(
        "Open streams",
        "Event streams that clients hold open.",
        (Query("sum(freehold_open_streams)", "streams"),),
        "short",
    ),
)

DASHBOARD = Dashboard(
    uid="freehold-runs",
    title="Freehold / Agent runs",
    about="How many runs, how long they take and where they spend it, which tools fail.",
    rows=(Row("Runs", _RUNS), Row("Inside runs", _INSIDE), Row("Tools", _TOOLS), Row("Clients", _CLIENTS)),
    variables=(
        Variable("graph", "Agent", "freehold_runs_total", "graph"),
        Variable("tool", "Tool", "freehold_tool_calls_total", "tool"),
    ),
)
