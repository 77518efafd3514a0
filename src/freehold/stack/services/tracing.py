"""Where traces go. Phoenix shows each run as a tree of spans, with tokens, time and, where `telemetry.content` is on, what was said.

Traces come over HTTP, on the port of its pages. Its gRPC port would listen on every address whatever it is told, so `phoenix_start.py.txt`
starts it without one.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files

from freehold.stack.deployment import Deployment
from freehold.stack.environment import PHOENIX_MARK, phoenix_has_users, service_database_url
from freehold.stack.service import File, Health, Limits, Metrics, Port, Secret, Service, Volume

NAME = "phoenix"

#: Given from the very first start: without users too Phoenix makes its administrator then, whose password would be "admin".
_PASSWORD = Secret("phoenix_password", "generated", "first password of admin@localhost in Phoenix", lasting=True)
_OF_USERS = (
    Secret("phoenix_secret", "generated", "what Phoenix signs its sessions with"),
    Secret("phoenix_key", "generated", "key that server and workers send traces to Phoenix with"),
)

#: Nothing is told to its makers or fetched, and no code of a trace's reader is run by the server.
_PRIVATE = {
    "PHOENIX_TELEMETRY_ENABLED": "false",
    "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
    "PHOENIX_DISABLE_AGENT_ASSISTANT": "true",
    "PHOENIX_AGENTS_DISABLE_BASH": "true",
    "PHOENIX_AGENTS_DISABLE_WEB_ACCESS": "true",
    "PHOENIX_ALLOWED_SANDBOX_PROVIDERS": "NONE",
    "PHOENIX_ENABLE_MCP_SERVER": "false",
    "PHOENIX_ENABLE_OAUTH2_AUTHORIZATION_SERVER": "false",
}


def services(deployment: Deployment, others: tuple[Service, ...]) -> Iterable[Service]:
    settings = deployment.settings.tracing
    if settings.backend != "phoenix":
        return
    users = phoenix_has_users(deployment.settings)
    yield Service(
        name=NAME,
        program="phoenix",
        args=("${files}/start.py", "${listen}", str(settings.metrics_port), *(("*",) if users else ("127.0.0.1", "localhost", "[::1]"))),
        env={
            **_PRIVATE,
            "PHOENIX_HOST": "${listen}",
            "PHOENIX_PORT": str(settings.port),
            "PHOENIX_WORKING_DIR": "${data:phoenix}",
            "PHOENIX_SQL_DATABASE_URL": service_database_url(NAME),
            "PHOENIX_DEFAULT_ADMIN_INITIAL_PASSWORD": "${secret:phoenix_password}",
            "PHOENIX_ENABLE_PROMETHEUS": "true",
            "PHOENIX_LOGGING_MODE": "default",
            **({"PHOENIX_DEFAULT_RETENTION_POLICY_DAYS": str(settings.keep_days)} if settings.keep_days else {}),
            **(_users() if users else _same_origin(settings.port)),
        },
        ports=(
            Port(settings.port, settings.host, "tracing.port"),
            Port(settings.metrics_port, settings.host, "tracing.metrics_port", name="metrics"),
        ),
        volumes=(Volume(NAME, "what Phoenix keeps beside its database"),),
        files=(File("start.py", (files("freehold.stack.services") / "phoenix_start.py.txt").read_text(encoding="utf-8")),),
        secrets=(_PASSWORD, *(_OF_USERS if users else ())),
        health=Health("http", "http://${address:phoenix}/healthz", start_seconds=180),
        needs=("postgres", "migrate"),
        grace_seconds=15,
        metrics=Metrics(port="metrics"),
        networks=("apps", "data", "observe"),
        limits=Limits(2 * 1024**3),
        database=NAME,
        about="Phoenix",
    )


def _users() -> dict[str, str]:
    return {
        "PHOENIX_ENABLE_AUTH": "true",
        "PHOENIX_SECRET": f"{PHOENIX_MARK}${{secret:phoenix_secret}}",
        "PHOENIX_ADMIN_SECRET": f"{PHOENIX_MARK}${{secret:phoenix_key}}",
    }


def _same_origin(port: int) -> dict[str, str]:
    """Without users, a page of another site in the reader's browser must not write."""
    return {"PHOENIX_CSRF_TRUSTED_ORIGINS": f"http://127.0.0.1:{port},http://localhost:{port}"}
