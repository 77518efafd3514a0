"""Open WebUI: a chat page for people, connected to the agents and to the models.

What stands here rules: it does not keep settings in its database. It serves no models itself (speech, embeddings, text in pictures), so
what people attach is read whole, and nothing is fetched from a model hub.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from freehold.core.machine import GIB
from freehold.stack.deployment import Deployment
from freehold.stack.edge.site import origins_of
from freehold.stack.environment import gateway_key, service_database_url
from freehold.stack.service import Health, Limits, Port, Secret, Service, Volume

#: Natively it took 370 MiB after a conversation; attachments are read in memory.
MEMORY_BYTES = 2 * GIB

#: What the agent server knows it by, where that takes keys.
API_KEY = Secret("webui_api_key", "generated", "key of Open WebUI for the agent server")
_PASSWORD = Secret("webui_password", "generated", "first password of Open WebUI's first administrator", lasting=True)
_SESSIONS = Secret("webui_sessions", "generated", "what Open WebUI signs its sessions with")

#: Nothing is sent or fetched, and no code of strangers is installed.
_PRIVATE = {
    "ANONYMIZED_TELEMETRY": "false",
    "DO_NOT_TRACK": "true",
    "SCARF_NO_ANALYTICS": "true",
    "HF_HUB_OFFLINE": "1",
    "OFFLINE_MODE": "true",
    "ENABLE_VERSION_UPDATE_CHECK": "false",
    "ENABLE_COMMUNITY_SHARING": "false",
    "ENABLE_DIRECT_CONNECTIONS": "false",
    "ENABLE_PIP_INSTALL_FRONTMATTER_REQUIREMENTS": "false",
    "ENABLE_OLLAMA_API": "false",
}

#: Parts that would need models of its own, and calls of a model beside the one a person asked for: a small machine has none to spare.
_LEAN = {
    "USE_SLIM_DOCKER": "true",
    "RAG_EMBEDDING_ENGINE": "openai",
    "BYPASS_EMBEDDING_AND_RETRIEVAL": "true",
    "AUDIO_STT_ENGINE": "web",
    "ENABLE_TAGS_GENERATION": "false",
    "ENABLE_FOLLOW_UP_GENERATION": "false",
    "ENABLE_AUTOCOMPLETE_GENERATION": "false",
    "ENABLE_RETRIEVAL_QUERY_GENERATION": "false",
    "ENABLE_EVALUATION_ARENA_MODELS": "false",
    "ENABLE_MEMORIES": "false",
    "ENABLE_CODE_INTERPRETER": "false",
}

#: It would hand tools of its own to every model. Agents have theirs, and refuse others; an administrator can turn them on for a model.
_WITHOUT_TOOLS = {
    "DEFAULT_MODEL_METADATA": '{"capabilities": {"builtin_tools": false}}',
    "DEFAULT_MODEL_PARAMS": '{"function_calling": "legacy"}',
}


def services(deployment: Deployment, others: tuple[Service, ...]) -> Iterable[Service]:
    """Open WebUI, after what it is connected to."""
    settings, wanted = deployment.settings, deployment.settings.webui
    keys = (API_KEY,) if settings.server.takes_keys else ()
    yield Service(
        name="webui",
        program="open-webui",
        args=("open_webui.main:app", "--host", "${listen}", "--port", str(wanted.port), *_trusting(deployment)),
        env={
            **_PRIVATE,
            **_LEAN,
            **_WITHOUT_TOOLS,
            **_people(deployment),
            **_models(deployment, others),
            **({"FROM_INIT_PY": "true"} if settings.stack.target == "native" else {}),  # its package and its image lie differently
            "DATA_DIR": "${data:webui}",
            "STATIC_DIR": "${data:webui}/static",
            "DATABASE_URL": service_database_url("webui"),
            "VECTOR_DB": "pgvector",
            "PGVECTOR_DB_URL": service_database_url("webui"),
            "PGVECTOR_CREATE_EXTENSION": "false",
            "ENABLE_PERSISTENT_CONFIG": "false",
        },
        ports=(Port(wanted.port, wanted.host, "webui.port"),),
        volumes=(Volume("webui", "files that people attached in Open WebUI"),),
        health=Health("http", "http://${address:webui}/health/db", start_seconds=300),
        needs=("postgres", "migrate", "server"),
        grace_seconds=15,
        secrets=(_PASSWORD, _SESSIONS, *keys),
        networks=("apps", "data", "models"),
        limits=Limits(MEMORY_BYTES),
        database="webui",
        about="Open WebUI",
    )


def _trusting(deployment: Deployment) -> tuple[str, ...]:
    """Behind the edge of a container network nobody else can reach it, so what stands in its headers is the edge's."""
    return ("--forwarded-allow-ips", "*") if deployment.settings.stack.target == "compose" else ()


def _people(deployment: Deployment) -> Mapping[str, str]:
    wanted = deployment.settings.webui
    origins = _origins(deployment)
    return {
        "WEBUI_URL": origins[0],
        "WEBUI_AUTH_COOKIE_SECURE": "true" if deployment.settings.stack.target == "compose" else "false",
        "WEBUI_AUTH": "true",
        "WEBUI_ADMIN_NAME": "Administrator",
        "WEBUI_ADMIN_EMAIL": wanted.admin_email,
        "WEBUI_ADMIN_PASSWORD": f"${{secret:{_PASSWORD.name}}}",
        "WEBUI_SECRET_KEY": f"${{secret:{_SESSIONS.name}}}",
        "ENABLE_SIGNUP": "true" if wanted.sign_up else "false",
        "DEFAULT_USER_ROLE": "pending",
        "CORS_ALLOW_ORIGIN": ";".join(origins),
        "BYPASS_MODEL_ACCESS_CONTROL": "true",  # else agents and models are for administrators alone
    }


def _origins(deployment: Deployment) -> list[str]:
    """Where browsers find it, and no page of another origin is answered: behind the edge, and on this machine directly."""
    settings, wanted = deployment.settings, deployment.settings.webui
    direct = [f"http://{host}:{wanted.port}" for host in dict.fromkeys((wanted.host, "127.0.0.1", "localhost"))]
    shown = origins_of(settings, "webui")
    return [*shown, *(direct if settings.stack.target == "native" or not shown else [])]


def _models(deployment: Deployment, others: tuple[Service, ...]) -> Mapping[str, str]:
    """Where it asks: the agents, then the models through the gateway or at their server."""
    settings, engine = deployment.settings, deployment.engine
    connections = [("http://${address:server}/v1", "${secret:webui_api_key}" if settings.server.takes_keys else "none")]
    if any(service.name == "gateway" for service in others):
        connections.append(("http://${address:gateway}/v1", gateway_key(settings)))
    else:
        models = [model for model in deployment.served if model.engine.name != "none"]
        connections += [(model.base_url, f"${{secret:{model.secret}}}" if model.secret else "none") for model in models]
    urls, keys = zip(*connections, strict=True)
    # Titles of conversations are the model's work: asked of an agent, each would be a run of its own, with tools.
    titles = {"TASK_MODEL_EXTERNAL": engine.model} if len(connections) > 1 else {"ENABLE_TITLE_GENERATION": "false"}
    return {"ENABLE_OPENAI_API": "true", "OPENAI_API_BASE_URLS": ";".join(urls), "OPENAI_API_KEYS": ";".join(keys), **titles}
