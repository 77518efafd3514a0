"""The gateway (LiteLLM): one address for all models, with aliases, keys, limits, and a second model where the first fails.

Natively it has no database: its own keys, budgets and pages need an engine that only its image carries. There the agent server's keys
are taken instead (`stack/gateway/keys.py.txt`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.resources import files

from freehold.core.machine import GIB
from freehold.stack.deployment import Deployment
from freehold.stack.gateway import config
from freehold.stack.gateway.config import Upstream
from freehold.stack.service import File, Health, Limits, Metrics, Network, Port, Secret, Service

#: Natively it took 330 to 490 MiB; the database engine in its image takes as much again.
MEMORY_BYTES = int(1.5 * GIB)

_KEY = Secret("gateway_key", "generated", "key for the gateway")
_METRICS_KEY = Secret("gateway_metrics_key", "generated", "key for the metrics of the gateway")
_MASTER_KEY = Secret("gateway_master_key", "generated", "key for the gateway's own pages, and for making keys")

#: Its database engine (Prisma) takes `?host=` for the folder of a socket alone.
_DATABASE_URL = "postgresql://litellm:${secret:postgres_litellm}@${address:postgres}/litellm"

#: No price list or advertisement is fetched, nothing is sent; no pages but where there is a database behind them.
_PRIVATE = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_POLICY_TEMPLATES": "True",
    "DO_NOT_TRACK": "1",
    "NO_DOCS": "True",
    "NO_REDOC": "True",
    "NO_OPENAPI": "True",
}


def services(deployment: Deployment, others: tuple[Service, ...]) -> Iterable[Service]:
    """The gateway, where there is a model to lead to."""
    upstreams = _upstreams(deployment)
    if not upstreams:
        return
    settings, gateway = deployment.settings, deployment.settings.gateway
    native = settings.stack.target == "native"
    keys = {upstream.variable: upstream.key for upstream in upstreams if upstream.key}
    yield Service(
        name="gateway",
        program="litellm",
        args=("--config", f"${{files}}/{config.NAME}", "--host", "${listen}", "--port", str(gateway.port), "--telemetry", "False"),
        env={
            **_PRIVATE,
            **keys,
            "LITELLM_MASTER_KEY": "sk-${secret:gateway_master_key}",
            "LITELLM_CORS_ORIGINS": f"http://{gateway.host}:{gateway.port}",
            **(_own_keys(deployment) if native else {"DATABASE_URL": _DATABASE_URL}),
        },
        ports=(Port(gateway.port, gateway.host, "gateway.port"),),
        health=Health("http", f"http://${{address:gateway}}/health/{'liveliness' if native else 'readiness'}", start_seconds=180),
        needs=() if native else ("postgres", "migrate"),
        grace_seconds=30,
        files=(
            File(config.NAME, config.text(gateway, upstreams, with_database=not native)),
            *([File("keys.py", (files("freehold.stack.gateway") / "keys.py.txt").read_text(encoding="utf-8"))] if native else []),
        ),
        secrets=(_KEY, _METRICS_KEY, _MASTER_KEY) if native else (_MASTER_KEY,),
        metrics=Metrics(path="/metrics/", key=_METRICS_KEY.name if native else None),
        networks=_networks(upstreams, native=native),
        limits=Limits(MEMORY_BYTES),
        database=None if native else "litellm",
        about="gateway (LiteLLM)",
    )


def _networks(upstreams: Iterable[Upstream], *, native: bool) -> tuple[Network, ...]:
    """The way out only where a model is elsewhere."""
    away = any("${" not in upstream.base_url for upstream in upstreams)
    chosen: tuple[tuple[Network, bool], ...] = (("apps", True), ("data", not native), ("models", True), ("observe", True), ("out", away))
    return tuple(name for name, wanted in chosen if wanted)


def _own_keys(deployment: Deployment) -> Mapping[str, str]:
    settings = deployment.settings
    per_minute = settings.gateway.requests_per_minute
    return {
        "DISABLE_ADMIN_UI": "True",
        "PYTHONDONTWRITEBYTECODE": "1",  # it would leave some beside keys.py
        "FREEHOLD_GATEWAY_KEY": "${secret:gateway_key}",
        "FREEHOLD_GATEWAY_METRICS_KEY": "${secret:gateway_metrics_key}",
        **({"FREEHOLD_GATEWAY_SERVER": "http://${address:server}"} if settings.server.needs_keys else {}),
        **({"FREEHOLD_GATEWAY_PER_MINUTE": str(per_minute)} if per_minute else {}),
    }


def _upstreams(deployment: Deployment) -> list[Upstream]:
    """The models of this stack, the default one first."""
    served = [model for model in deployment.served if model.engine.name != "none"]
    return [
        Upstream(model.engine.model, model.base_url, f"${{secret:{model.secret}}}" if model.secret else None, model.key) for model in served
    ]
