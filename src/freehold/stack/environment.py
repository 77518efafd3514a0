"""What our own programs are told about the rest of the stack, in the variables declared in `config/env.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from freehold.config.env import of_model
from freehold.config.settings import Settings
from freehold.stack.served import Served

#: Name of the database in the embedded Postgres.
DATABASE = "freehold"
#: Phoenix wants a digit and a lower-case letter in its secrets, which chance alone does not promise.
PHOENIX_MARK = "a1"


def role_url(role: str, pooler_port: int | None = None) -> str:
    """URL of a role of the stack's own Postgres, with its password as a reference; by way of the pooler where its port is given."""
    where = "${host:postgres}" if pooler_port is None else f"${{host:pooler}}&port={pooler_port}"
    return f"postgresql://freehold_{role}:${{secret:postgres_{role}}}@/{DATABASE}?host={where}"


def service_database_url(database: str) -> str:
    """URL of the database that belongs to one service alone, whose role has the same name."""
    return f"postgresql://{database}:${{secret:postgres_{database}}}@/{database}?host=${{host:postgres}}"


def superuser_url(settings: Settings) -> str:
    """URL of the superuser of the stack's own Postgres: known by its user id on one machine, by a password elsewhere."""
    password = "" if settings.stack.target == "native" else ":${secret:postgres_superuser}"
    return f"postgresql://postgres{password}@/postgres?host=${{host:postgres}}"


def agent_environment(settings: Settings, models: Sequence[Served]) -> Mapping[str, str]:
    """Variables that server, worker and migration all get."""
    return {
        "FREEHOLD_HOME": "${home}",
        "FREEHOLD_CONFIG": "${config}",
        # In containers every process shows its own metrics.
        **({"PROMETHEUS_MULTIPROC_DIR": "${home}/metrics"} if settings.stack.target == "native" else {}),
        **_agents(settings),
        **_database(settings),
        **_redis(settings),
        **_traces(settings),
        **_model(settings, models[0]),
        **{variable: text for model in models[1:] for variable, text in _further_model(settings, model).items()},
    }


def _agents(settings: Settings) -> Mapping[str, str]:
    """In containers the image knows its agents, and what their settings hold of secrets is handed over apart from them."""
    if settings.stack.target == "native":
        return {"FREEHOLD_AGENTS": str(settings.agents.config.absolute())} if settings.agents.config else {}
    return {
        **({"FREEHOLD_WEBHOOK_SECRET": "${secret:webhook_secret}"} if settings.webhooks.secret else {}),
        **({"OTEL_EXPORTER_OTLP_HEADERS": "${secret:otlp_headers}"} if settings.telemetry.otlp_headers else {}),
    }


def _database(settings: Settings) -> Mapping[str, str]:
    if not settings.database.url:
        if "pooler" not in settings.stack.services:
            return {"DATABASE_URL": role_url("app"), "FREEHOLD_READER_DATABASE_URL": role_url("reader")}
        port = settings.pooler.port
        return {
            "DATABASE_URL": role_url("app", port),
            "FREEHOLD_READER_DATABASE_URL": role_url("reader", port),
            "FREEHOLD_DIRECT_DATABASE_URL": role_url("app"),
        }
    reader = {"FREEHOLD_READER_DATABASE_URL": "${secret:reader_url}"} if settings.tools.sql.url else {}
    return {"DATABASE_URL": "${secret:database_url}", **reader}


def _redis(settings: Settings) -> Mapping[str, str]:
    if settings.redis.url:
        return {"REDIS_URL": "${secret:redis_url}"}
    if settings.stack.target == "native":
        return {"REDIS_URL": "unix://${sockets:valkey}/valkey.sock"}
    return {"REDIS_URL": "redis://:${secret:valkey}@${address:valkey}/0"}


def gateway_key(settings: Settings) -> str:
    """What parts of the stack send to the gateway, as a reference. LiteLLM wants its keys to begin like that."""
    return f"sk-${{secret:{'gateway_key' if settings.stack.target == 'native' else 'gateway_master_key'}}}"


def _traces(settings: Settings) -> Mapping[str, str]:
    """Where spans go, unless the user said so in the settings."""
    if "tracing" not in settings.stack.services or settings.telemetry.otlp_endpoint:
        return {}
    if settings.tracing.backend == "langfuse":
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"{settings.tracing.langfuse.base_url}/api/public/otel",
            "OTEL_EXPORTER_OTLP_HEADERS": "${secret:langfuse_headers}",
        }
    key = {"OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{PHOENIX_MARK}${{secret:phoenix_key}}"}
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://${address:phoenix}", **(key if phoenix_has_users(settings) else {})}


def phoenix_has_users(settings: Settings) -> bool:
    """Whether people sign in to Phoenix: wherever others than the user of this machine can reach it."""
    return settings.stack.target != "native" or not settings.tracing.is_loopback


def _model(settings: Settings, model: Served) -> Mapping[str, str]:
    if model.engine.name == "none":
        return {}
    url, key = _way(settings, model)
    context = {"FREEHOLD_MODEL_CONTEXT": str(model.engine.context)} if model.engine.context else {}
    return {"FREEHOLD_MODEL": model.engine.model, "OPENAI_BASE_URL": url, **({"OPENAI_API_KEY": key} if key else {}), **context}


def _further_model(settings: Settings, model: Served) -> Mapping[str, str]:
    if model.engine.name == "none" or model.name is None:
        return {}
    url, key = _way(settings, model)
    told = {of_model(model.name, "BASE_URL"): url, of_model(model.name, "NAME"): model.engine.model}
    return {**told, **({of_model(model.name, "API_KEY"): key} if key else {})}


def _way(settings: Settings, model: Served) -> tuple[str, str | None]:
    """Where our programs send requests for a model, and with which key."""
    if "gateway" in settings.stack.services and settings.gateway.serves_agents:
        return "http://${address:gateway}/v1", gateway_key(settings)
    return model.base_url, f"${{secret:{model.secret}}}" if model.secret else None
