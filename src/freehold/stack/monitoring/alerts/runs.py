"""What users feel: requests that fail, runs that wait or fail, workers that are missing."""

from __future__ import annotations

from collections.abc import Iterable

from freehold.stack.monitoring.alert import Alert, Watched

#: Share of requests answered with 5xx that people start from.
MOST_ERRORS = 0.05
LONGEST_QUEUE_SECONDS = 60

_NO_STORE = ("PostgresDown", "ValkeyDown")
_SERVER = ("server",)


def alerts(watched: Watched) -> Iterable[Alert]:
    yield Alert(
        "ServerErrors",
        f"freehold:http_errors:ratio5m > {MOST_ERRORS}",
        "5m",
        "critical",
        "{{ humanizePercentage $value }} of requests to the agent server fail",
        means="The agent server answers with 5xx: people get errors.",
        look="`freehold logs server`: each failed request has a line with its request id and the error.",
        do="storage_unavailable: Postgres or Valkey. Else the log names the error.",
        explained_by=_NO_STORE,
    )
    yield Alert(
        "QueueWaits",
        f"max(freehold_queue_age_seconds) > {LONGEST_QUEUE_SECONDS}",
        "2m",
        "warning",
        "The first run in the queue has waited {{ humanizeDuration $value }}",
        means="Runs wait because all places of all workers are taken, or no worker claims them.",
        look="The dashboard Agent runs: queue, places of workers in use, seconds of runs. `freehold status` names the bottleneck.",
        do="More workers (`worker.count`) or places (`worker.concurrency`) if model and database have room; else those first.",
        explained_by=("NoWorkers", "WorkersMissing", *_NO_STORE),
    )
    yield Alert(
        "RunsFail",
        # Some runs must have ended: one failure at night is no fifth of anything.
        '(sum(rate(freehold_runs_total{status=~"error|timeout"}[10m])) / sum(rate(freehold_runs_total[10m])) > 0.2) '
        'and sum(increase(freehold_runs_total{status=~"error|timeout"}[10m])) >= 3',
        "5m",
        "critical",
        "{{ humanizePercentage $value }} of runs fail",
        means="More than a fifth of the runs of the last ten minutes ended in an error or ran out of time.",
        look="`freehold logs worker`; `freehold_runs_total` by graph: is it one agent or all of them?",
        do="One agent: its code, its tools. All: model (see ModelErrors) or stores.",
        explained_by=("ModelErrors", *_NO_STORE),
    )
    yield Alert(
        "NoWorkers",
        "sum(freehold_worker_slots) == 0",
        "1m",
        "critical",
        "No worker runs",
        means="Runs are accepted and wait; nobody executes them.",
        look="`freehold status` and `freehold logs worker`.",
        do="They are started again by themselves. If they end at once: the log's last lines; most often the project's code does not load.",
        explained_by=("PostgresDown",),
        needs=_SERVER,
    )
    yield Alert(
        "WorkersMissing",
        f"sum(freehold_worker_slots) < {watched.slots} > 0",
        "2m",
        "warning",
        f"Places for {{{{ $value }}}} runs at once, of {watched.slots}",
        means=f"Fewer workers run than the {watched.workers} that were planned.",
        look="`freehold status`: a worker that is `restarting` says why.",
        do="`freehold logs worker`. Killed (signal 9) means memory: fewer places (`worker.concurrency`), or more memory.",
        explained_by=("NoWorkers", "PostgresDown"),
        needs=_SERVER,
    )
    yield Alert(
        "WorkersRestart",
        'increase(freehold_worker_starts_total[15m]) > 3 or changes(process_start_time_seconds{job=~"server|worker"}[15m]) > 3',
        "",
        "warning",
        "Processes of ours start again and again",
        means="Workers or the server ended at least three times in a quarter of an hour. Runs go on from their last checkpoint, but late.",
        look="`freehold status` (restarts and why), `freehold logs worker`, `dmesg` for the kernel's out-of-memory killer.",
        do="The log's last lines before each start name the cause.",
        explained_by=_NO_STORE,
    )
    yield Alert(
        "ToolsFail",
        "(freehold:tool_success:ratio5m < 0.5) and on (tool) (sum by (tool) (increase(freehold_tool_calls_total[15m])) >= 10)",
        "10m",
        "warning",
        "{{ $labels.tool }} ends well in only {{ humanizePercentage $value }} of its calls",
        means="More than half of the calls of a tool fail, so agents answer without what it would have told them.",
        look="`freehold_tool_calls_total` by `outcome`, the table of tool calls, traces.",
        do="timeout: what the tool asks is slow, or `tools.timeout_seconds` too short. invalid: the model misunderstands its arguments.",
        explained_by=_NO_STORE,
    )
    yield Alert(
        "CheckpointsGrow",
        "max(predict_linear(freehold_checkpoint_bytes[6h], 86400) - freehold_checkpoint_bytes) > 5 * 1024 * 1024 * 1024",
        "1h",
        "warning",
        "Checkpoints will have grown by {{ humanize1024 $value }}B by tomorrow",
        means="At the pace of the last six hours the checkpoints grow by more than 5 GiB in a day.",
        look="The dashboard Data stores; which threads are large: `freehold doctor`.",
        do="Set ages (`retention.checkpoints`, `retention.threads`) or run `freehold prune`; look for a graph that keeps large "
        "things in its state.",
    )
    yield Alert(
        "WebhooksGivenUp",
        'increase(freehold_webhook_deliveries_total{outcome="given_up"}[1h]) > 0',
        "",
        "warning",
        "Webhooks were given up",
        means="A receiver of webhooks did not take a message in any of its tries; it does not know how a run ended.",
        look="`freehold logs worker` names the URL and what it answered.",
        do="Repair the receiver; it can ask for the runs it missed. More tries: `webhooks.attempts`.",
    )
    yield Alert(
        "AuditLost",
        "increase(freehold_audit_lost_total[15m]) > 0",
        "",
        "critical",
        "Entries of the audit log are lost",
        means="What somebody did could not be written down.",
        look="`freehold_audit_lost_total` by `reason`; `freehold logs server`.",
        do="full or failed: the database. strangers: somebody tries credentials; limit them at the edge.",
        explained_by=("PostgresDown",),
    )
