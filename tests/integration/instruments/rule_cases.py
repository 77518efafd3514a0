"""For every alert what makes it fire and what makes it resolve, as series for `promtool test rules`.

Every case goes through three phases, sample by sample: all is well, the condition, all is well again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: Seconds between samples.
STEP = 15
MODEL = 'model_name="m"'


@dataclass(frozen=True)
class Case:
    """One alert: `level` series have one value in the good and another in the bad phase, `counter` series grow by so much a sample."""

    alert: str
    level: Mapping[str, tuple[float | str, float | str]] = field(default_factory=dict)
    counter: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    #: Values that counters begin with.
    start: float = 0
    #: Samples in each phase.
    good: int = 40
    bad: int = 120
    after: int = 200

    @property
    def series(self) -> list[dict[str, str]]:
        lengths = (self.good, self.bad, self.after)
        return [
            *({"series": name, "values": _levels(values, lengths)} for name, values in self.level.items()),
            *({"series": name, "values": _counts(values, lengths, self.start)} for name, values in self.counter.items()),
        ]

    @property
    def moments(self) -> list[tuple[str, bool]]:
        """When it is looked at, and whether it fires then: late in each phase."""
        ends = (self.good, self.good + self.bad, self.good + self.bad + self.after)
        return [(f"{(end - 4) * STEP}s", index == 1) for index, end in enumerate(ends)]


def _levels(values: tuple[float | str, float | str], lengths: tuple[int, int, int]) -> str:
    phases = zip((values[0], values[1], values[0]), lengths, strict=True)
    return " ".join(f"_x{length}" if value == "_" else f"{value}+0x{length - 1}" for value, length in phases)


def _counts(rates: tuple[float, float], lengths: tuple[int, int, int], start: float) -> str:
    parts, value = [], start
    for rate, length in zip((rates[0], rates[1], rates[0]), lengths, strict=True):
        sign = "-" if rate < 0 else "+"
        parts.append(f"{value:.0f}{sign}{abs(rate):.0f}x{length - 1}")
        value += rate * length
    return " ".join(parts)


def _disk(name: str, mountpoint: str) -> str:
    return f'node_filesystem_{name}_bytes{{fstype="ext4",mountpoint="{mountpoint}"}}'


_BUCKET = "llm_inference_duration_seconds_bucket"
_DAY = 86400

CASES = (
    Case("TargetDown", {'up{job="server"}': (1, 0), 'up{job="model"}': (1, 1)}),
    Case("InstrumentDown", {'up{job="node-exporter"}': (1, 0)}),
    Case("TargetMissing", {'up{job="server"}': (1, "_"), 'up{job="model"}': (1, 1)}),
    Case("ScrapeSlow", {'scrape_duration_seconds{job="server"}': (0.1, 7)}),
    Case("PrometheusRulesFail", counter={"prometheus_rule_evaluation_failures_total": (0, 1)}),
    Case("PrometheusConfigBroken", {'prometheus_config_last_reload_successful{job="prometheus"}': (1, 0)}),
    Case("AlertsNotSent", counter={'alertmanager_notifications_failed_total{integration="webhook"}': (0, 1)}),
    Case("MetricsDiskFull", counter={"prometheus_tsdb_compactions_failed_total": (0, 1)}, after=300),
    Case(
        "InferenceSlow",
        counter={
            f'{_BUCKET}{{model="m",le="5"}}': (1, 0),
            f'{_BUCKET}{{model="m",le="10"}}': (1, 1),
            f'{_BUCKET}{{model="m",le="+Inf"}}': (1, 1),
        },
    ),
    Case(
        "InferenceSlow",
        counter={
            f'vllm:e2e_request_latency_seconds_bucket{{{MODEL},le="5"}}': (1, 0),
            f'vllm:e2e_request_latency_seconds_bucket{{{MODEL},le="10"}}': (1, 1),
            f'vllm:e2e_request_latency_seconds_bucket{{{MODEL},le="+Inf"}}': (1, 1),
        },
    ),
    Case("ModelQueues", {f"vllm:num_requests_waiting{{{MODEL}}}": (0, 20)}),
    Case("ModelQueues", {'llamacpp:requests_deferred{model="m"}': (0, 20)}),
    Case("KvCacheFull", {f"vllm:kv_cache_usage_perc{{{MODEL}}}": (0.3, 0.95)}),
    Case("KvCacheFull", {'llamacpp:requests_processing{model="m"}': (0, 2)}),
    Case(
        "ModelErrors",
        counter={
            'llm_inference_errors_total{model="m",error_type="model_timeout"}': (0, 1),
            'llm_inference_duration_seconds_count{model="m"}': (1, 1),
        },
    ),
    Case(
        "ThroughputLow",
        {f"vllm:num_requests_running{{{MODEL}}}": (4, 4)},
        {f"vllm:generation_tokens_total{{{MODEL}}}": (1500, 750)},
        good=960,
        bad=200,
    ),
    Case("GpuMemoryFull", {'DCGM_FI_DEV_FB_USED{gpu="0"}': (40000, 79000), 'DCGM_FI_DEV_FB_FREE{gpu="0"}': (40000, 1000)}),
    Case("GpuHot", {'DCGM_FI_DEV_GPU_TEMP{gpu="0"}': (60, 91)}),
    Case("GpuErrors", {'DCGM_FI_DEV_XID_ERRORS{gpu="0"}': (0, 79)}),
    Case(
        "ServerErrors",
        counter={'freehold_http_requests_total{status="5xx"}': (0, 1), 'freehold_http_requests_total{status="2xx"}': (10, 10)},
    ),
    Case("QueueWaits", {"freehold_queue_age_seconds": (0, 120)}),
    Case(
        "RunsFail",
        counter={
            'freehold_runs_total{graph="assistant",status="error"}': (0, 1),
            'freehold_runs_total{graph="assistant",status="success"}': (1, 1),
        },
    ),
    Case("NoWorkers", {"freehold_worker_slots": (20, 0)}),
    Case("WorkersMissing", {"freehold_worker_slots": (20, 10)}),
    Case("WorkersRestart", counter={"freehold_worker_starts_total": (0, 1)}),
    Case(
        "ToolsFail",
        counter={
            'freehold_tool_calls_total{tool="web",outcome="error"}': (0, 2),
            'freehold_tool_calls_total{tool="web",outcome="ok"}': (2, 0),
        },
    ),
    Case("CheckpointsGrow", counter={"freehold_checkpoint_bytes": (0, 10_000_000)}, start=1e9, bad=600, after=2000),
    Case("WebhooksGivenUp", counter={'freehold_webhook_deliveries_total{outcome="given_up"}': (0, 1)}, after=300),
    Case("AuditLost", counter={'freehold_audit_lost_total{reason="full"}': (0, 1)}),
    Case("PostgresDown", {"pg_up": (1, 0)}),
    Case("DatabaseUnreachable", {"freehold_queue_depth": (0, "NaN"), "pg_up": (1, 1)}),
    Case("PostgresConnections", {'pg_stat_activity_count{state="idle"}': (10, 95), "pg_settings_max_connections": (100, 100)}),
    Case(
        "PostgresTransactionHangs",
        {'pg_stat_activity_max_tx_duration{datname="freehold",state="idle in transaction"}': (0, 1000)},
    ),
    Case("PostgresDeadlocks", counter={'pg_stat_database_deadlocks{datname="freehold"}': (0, 1)}),
    Case("ValkeyDown", {"redis_up": (1, 0)}),
    Case("ValkeyMemory", {"redis_memory_used_bytes": (10, 95), "redis_memory_max_bytes": (100, 100)}),
    Case("ValkeyNotPersisted", {"redis_aof_last_write_status": (1, 0)}),
    Case(
        "DiskFilling",
        {_disk("size", "/filling"): (100e9, 100e9)},
        {_disk("avail", "/filling"): (0, -10_000_000)},
        start=30e9,
        bad=200,
        after=2000,
    ),
    Case("DiskFull", {_disk("size", "/full"): (100, 100), _disk("avail", "/full"): (50, 3)}),
    Case("MemoryFull", {"node_memory_MemAvailable_bytes": (50, 3), "node_memory_MemTotal_bytes": (100, 100)}),
    Case("ProcessorsBusy", counter={'node_cpu_seconds_total{instance="here",cpu="0",mode="idle"}': (15, 0)}, bad=200),
    Case(
        "ClockWrong",
        {'node_timex_offset_seconds{instance="here"}': (0, 2), 'node_timex_sync_status{instance="here"}': (1, 1)},
    ),
    Case("EdgeDown", {"nginx_up": (1, 0)}),
    Case("CertificateExpires", {"freehold_certificate_expiry_timestamp_seconds": (90 * _DAY, 2 * _DAY)}, bad=400),
    Case("BackupOld", {"freehold_backup_timestamp_seconds": (0, -3 * _DAY)}, bad=400),
)
