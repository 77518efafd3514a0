"""Models: slow, failing, short of memory. Written for the names of `recording.py`, so they hold for every engine."""

from __future__ import annotations

from collections.abc import Iterable

from freehold.stack.monitoring.alert import Alert, Watched

#: Thresholds that people start from.
SLOWEST_P95_SECONDS = 5
FULLEST_CACHE = 0.90
MOST_ERRORS = 0.05
#: Of its own baseline.
LEAST_THROUGHPUT = 0.80
FULLEST_GPU = 0.95

_BUSY = "freehold:model_tokens_generated_busy:rate1m"


def alerts(watched: Watched) -> Iterable[Alert]:
    yield Alert(
        "InferenceSlow",
        f"freehold:model_e2e_seconds:p95 > {SLOWEST_P95_SECONDS}",
        "2m",
        "warning",
        "{{ $labels.model }} is slow: p95 {{ humanizeDuration $value }}",
        means=f"One call of the model in twenty takes more than {SLOWEST_P95_SECONDS} s from request to last token.",
        look="The dashboard Model servers: do requests wait (queue), is the KV cache full, or are answers only long? "
        "`freehold status` names the bottleneck.",
        do="If requests wait: more replicas, or a smaller or more strongly quantised model. If answers are long: `limits.output_tokens`. "
        "On a CPU several seconds may be normal.",
        needs=watched.models,
    )
    yield Alert(
        "ModelQueues",
        "freehold:model_requests_waiting > 10",
        "5m",
        "warning",
        "{{ $value }} requests wait for {{ $labels.model }}",
        means="More requests come than the model server has places for, for minutes.",
        look="The dashboard Model servers: requests running and waiting, KV cache, tokens a second.",
        do="More replicas or a larger GPU; fewer runs at once (`worker.concurrency`); a gateway with a second model to fall back to.",
        needs=watched.models,
    )
    yield Alert(
        "KvCacheFull",
        f"freehold:model_kv_cache_usage > {FULLEST_CACHE}",
        "5m",
        "warning",
        "The KV cache of {{ $labels.model }} is {{ humanizePercentage $value }} full",
        means="There is hardly room for more conversations: new requests wait, and running ones may be pushed out and computed again.",
        look="The dashboard Model servers: KV cache, waiting requests, preemptions.",
        do="Shorter contexts (`model.context`), more memory for the cache, an 8 bit KV cache, or another replica.",
        needs=watched.models,
    )
    yield Alert(
        "ModelErrors",
        f"freehold:model_errors:ratio5m > {MOST_ERRORS}",
        "5m",
        "critical",
        "{{ humanizePercentage $value }} of the calls of {{ $labels.model }} fail",
        means="Calls of a model fail for good, after all retries. Users see errors.",
        look="`llm_inference_errors_total` by `error_type`; `freehold logs worker` and the log of the model server or gateway.",
        do="model_timeout: it is overloaded. model_unreachable: start it, check `model.base_url`. authentication: the key. "
        "context_length: shorten conversations.",
        needs=watched.models,
    )
    yield Alert(
        "ThroughputLow",
        # Only while it is busy does a number of tokens say how fast it is; its baseline is how it did when it was busy in the last day.
        f"(avg_over_time({_BUSY}[15m]) < {LEAST_THROUGHPUT} * avg_over_time({_BUSY}[1d]))"
        " and on (model) min_over_time(freehold:model_requests_running[5m]) > 0",
        "15m",
        "warning",
        "{{ $labels.model }} writes {{ humanize $value }} tokens a second, a fifth less than usual",
        means="Under load the model writes at least 20 % fewer tokens a second than on average while it was busy in the last day.",
        look="The dashboards Model servers and GPU: is the GPU slowed down by heat or power, is something else on it, did "
        "requests become longer?",
        do="End what else uses the GPU or the processors; check cooling; after a change of model or flags: compare with the ones before.",
        needs=watched.models,
    )
    yield Alert(
        "GpuMemoryFull",
        f"freehold:gpu_memory_usage > {FULLEST_GPU}",
        "2m",
        "warning",
        "Memory of GPU {{ $labels.gpu }} is {{ humanizePercentage $value }} full",
        means="A model server that asks for more memory now dies.",
        look="`nvidia-smi`: which processes hold how much; the dashboard GPU.",
        do="End what does not belong there; give each model server on this GPU a smaller share of its memory.",
    )
    yield Alert(
        "GpuHot",
        "DCGM_FI_DEV_GPU_TEMP > 85",
        "5m",
        "warning",
        "GPU {{ $labels.gpu }} has {{ $value }} °C",
        means="The GPU lowers its clock to cool down, so answers become slower.",
        look="The dashboard GPU: temperature, power, clock.",
        do="Check fans, dust and air flow; lower the power limit (`nvidia-smi -pl`).",
    )
    yield Alert(
        "GpuErrors",
        "DCGM_FI_DEV_XID_ERRORS > 0",
        "",
        "critical",
        "GPU {{ $labels.gpu }} reports XID {{ $value }}",
        means="The driver saw an error of the GPU; processes on it may hang or compute nonsense.",
        look="`dmesg | grep -i xid`; NVIDIA's list of XID errors says what the number means.",
        do="13, 31, 43, 45: restart the model server. 48, 63, 64, 74, 79, 94, 95: the machine needs a reboot, or the GPU replacing.",
    )
