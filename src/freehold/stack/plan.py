"""From settings and a machine to the one typed description of a deployment. Pure: the same input gives the same stack."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote

from pydantic import SecretStr

from freehold.config.services import LangfuseSection
from freehold.config.settings import Option, Settings
from freehold.core.errors import ConfigError
from freehold.core.machine import Machine
from freehold.models.catalogue import Model
from freehold.stack.deployment import Deployment, described, has, within_containers
from freehold.stack.edge.site import behind_edge, public_urls
from freehold.stack.engine import Engine
from freehold.stack.environment import agent_environment
from freehold.stack.served import Served, endpoint_secret, serve
from freehold.stack.service import Secret, Service
from freehold.stack.services import (
    edge,
    experiments,
    fetch,
    gateway,
    migrate,
    models,
    monitoring,
    pooler,
    postgres,
    search,
    server,
    tracing,
    valkey,
    webui,
    worker,
)

#: Makes the services of an optional part; it is handed those that were planned before it.
Part = Callable[[Deployment, tuple[Service, ...]], Iterable[Service]]

#: Optional parts in the order they are planned. Those that route to others or measure them come last.
OPTIONAL: Mapping[Option, Part] = {
    "pooler": pooler.services,
    "search": search.services,
    "gateway": gateway.services,
    "tracing": tracing.services,
    "experiments": experiments.services,
    "webui": webui.services,
    "monitoring": monitoring.services,
    "edge": edge.services,
}


@dataclass(frozen=True)
class Stack:
    """Everything that runs, in no particular order; `ordered` sorts it by need."""

    name: str
    services: tuple[Service, ...]
    secrets: tuple[Secret, ...]
    #: What is served and by what; the default model first.
    served: tuple[Served, ...]
    #: Catalogue id of the model that reads documents.
    embedding_model: str
    #: Where people and clients go, e.g. `http://127.0.0.1:8123`.
    server_url: str
    #: What it is planned for.
    machine: Machine
    #: Changes whenever a running stack would have to be restarted to follow its settings.
    fingerprint: str

    @property
    def engine(self) -> Engine:
        """What serves the default model and which model it is."""
        return self.served[0].engine

    def service(self, name: str) -> Service | None:
        return next((service for service in self.services if service.name == name), None)

    @property
    def models(self) -> Mapping[str, Model]:
        """What each model server reads, by the service's name."""
        return {server.service: model.engine.entry for model in self.served if model.engine.entry for server in model.servers}

    def ordered(self) -> tuple[Service, ...]:
        """Services so that each comes after all it needs."""
        return tuple(_by_need(self.services))


def plan(settings: Settings, machine: Machine, *, version: str) -> Stack:
    """What to run for these settings on this machine.

    Args:
        settings: validated settings.
        machine: what this is planned on, and will run on unless the settings describe another; decides engine and model where they
            say "auto".
        version: of Freehold; part of the fingerprint, as a new version needs a restart.

    Raises:
        ConfigError: the settings name a model or engine that cannot run on this machine.
    """
    _check_services(settings)
    machine = described(settings, machine)
    if settings.stack.target != "native":
        settings = within_containers(settings)
    if has(settings, "edge"):
        settings = behind_edge(settings)
    served = serve(settings, machine)
    deployment = Deployment(settings, machine, served, agent_environment(settings, served))
    services = tuple(_without_missing_needs(_services(deployment)))
    return Stack(
        name=settings.stack.name,
        services=services,
        secrets=tuple(_secrets(settings, served, services)),
        served=served,
        embedding_model=settings.knowledge.embedding_model,
        server_url=settings.server.url if settings.stack.target == "native" else public_urls(settings)[0],
        machine=machine,
        fingerprint=_fingerprint(settings, services, version),
    )


#: What to do about an optional service that needs the stack's own PostgreSQL, where there is none.
_WITH_OWN_DATABASE: Mapping[Option, str] = {
    "tracing": 'run Phoenix yourself, set telemetry.otlp_endpoint to it and tracing.backend = "otlp"',
    "webui": "run Open WebUI beside your own database",
    "experiments": "run MLflow beside your own database",
    "pooler": "put a PgBouncer of your own in front of it, and name that in database.url",
}


def _check_services(settings: Settings) -> None:
    """What optional services need of other sections; checked here, where secrets and addresses are all known, not in each process."""
    asked, tracing = settings.stack.services, settings.tracing
    langfuse = tracing.langfuse
    if "tracing" in asked and tracing.backend == "langfuse" and not (langfuse.base_url and langfuse.public_key and langfuse.secret_key):
        raise ConfigError(
            'tracing.langfuse: base_url, public_key and secret_key are needed when tracing.backend is "langfuse"',
            hint="Langfuse shows the keys in its settings; LANGFUSE_BASE_URL, LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY set them too",
        )
    if "tracing" in asked and tracing.backend == "otlp" and not settings.telemetry.otlp_endpoint:
        raise ConfigError('telemetry.otlp_endpoint: needed when tracing.backend is "otlp"', hint="set it, or OTEL_EXPORTER_OTLP_ENDPOINT")
    own = [option for option in asked if option in _WITH_OWN_DATABASE and (option != "tracing" or tracing.backend == "phoenix")]
    if own and settings.database.url:
        raise ConfigError(
            f'stack.services: "{own[0]}" needs the stack\'s own PostgreSQL, but database.url names another one',
            hint=_WITH_OWN_DATABASE[own[0]],
        )


def _services(deployment: Deployment) -> list[Service]:
    settings, told = deployment.settings, deployment.told
    stores = [
        None if settings.database.url else postgres.service(deployment),
        None if settings.redis.url else valkey.service(deployment),
    ]
    first = [*(store for store in stores if store), *models.services(deployment.served, contained=settings.stack.target != "native")]
    agents = [server.service(settings, told), worker.service(settings, told)]
    others: list[Service] = []
    for option, part in OPTIONAL.items():
        if deployment.has(option):
            others += part(deployment, (*first, *agents, *others))
    databases = [service.database for service in others if service.database]
    planned = [*first, migrate.service(settings, told, databases), *agents, *others]
    return planned if settings.stack.target == "native" else _for_containers(deployment, planned)


def _for_containers(deployment: Deployment, planned: list[Service]) -> list[Service]:
    """Models come into a volume by a task of its own, and caches have a Valkey of their own, where something uses one."""
    entries = [model.engine.entry for model in deployment.served if model.servers]
    wanted = [*(entry.id for entry in entries if entry and not entry.path), deployment.settings.knowledge.embedding_model]
    task = fetch.service(dict.fromkeys(wanted))
    caches = [valkey.cache(deployment)] if any("cache" in service.needs for service in planned) else []
    return [task, *caches, *fetch.readers(planned)]


def given_secrets(settings: Settings) -> Mapping[str, SecretStr]:
    """Values of the secrets that users gave in their settings, by name of the secret."""
    given = {
        "database_url": settings.database.url,
        "redis_url": settings.redis.url,
        "reader_url": settings.tools.sql.url,
        "endpoint_key": settings.model.api_key if settings.model.base_url else None,
        **_notify_secrets(settings),
        "langfuse_headers": _langfuse_headers(settings.tracing.langfuse) if settings.tracing.backend == "langfuse" else None,
        **{endpoint_secret(f"models.{name}"): model.api_key for name, model in settings.models.items() if model.base_url},
    }
    if settings.stack.target != "native":
        given |= {"webhook_secret": settings.webhooks.secret, "otlp_headers": settings.telemetry.otlp_headers}
    return {name: value for name, value in given.items() if value is not None}


def _notify_secrets(settings: Settings) -> Mapping[str, SecretStr | None]:
    if "monitoring" not in settings.stack.services:
        return {}
    notify = settings.monitoring.notify
    return {
        "alert_webhook_token": notify.webhook_token,
        "alert_slack_url": notify.slack_url,
        "alert_smtp_password": notify.smtp_password,
    }


def _langfuse_headers(langfuse: LangfuseSection) -> SecretStr | None:
    """As in OTEL_EXPORTER_OTLP_HEADERS: Langfuse knows a project by its two keys."""
    if not (langfuse.public_key and langfuse.secret_key):
        return None
    both = b64encode(f"{langfuse.public_key}:{langfuse.secret_key.get_secret_value()}".encode()).decode()
    return SecretStr(f"authorization=Basic%20{quote(both)},x-langfuse-ingestion-version=4")


def _secrets(settings: Settings, served: tuple[Served, ...], services: tuple[Service, ...]) -> Iterable[Secret]:
    if not settings.database.url:
        if settings.stack.target != "native":
            yield Secret("postgres_superuser", "generated", "password of the superuser of Postgres")
        for service in services:
            if service.database:
                yield Secret(f"postgres_{service.database}", "generated", f"password of the database role of {service.name}")
        for role in ("owner", "app", "reader"):
            yield Secret(f"postgres_{role}", "generated", f"password of the database role freehold_{role}")
    if any(model.servers for model in served):
        yield Secret("model_key", "generated", "key between the agent server and the model servers")
    if not settings.redis.url and settings.stack.target != "native":
        yield Secret("valkey", "generated", "password of Valkey")
    if settings.server.takes_keys:
        yield Secret("api_key", "generated", "first API key of the agent server")
    for name in given_secrets(settings):
        yield Secret(name, "given", "from your settings")
    yield from dict.fromkeys(secret for service in services for secret in service.secrets)


def _without_missing_needs(services: list[Service]) -> Iterable[Service]:
    present = {service.name for service in services}
    for service in services:
        yield replace(service, needs=tuple(need for need in service.needs if need in present))


def _by_need(services: tuple[Service, ...]) -> Iterable[Service]:
    waiting = list(services)
    placed: set[str] = set()
    while waiting:
        ready = [service for service in waiting if placed.issuperset(service.needs)]
        assert ready, f"services need one another in a circle: {[service.name for service in waiting]}"
        yield from ready
        placed |= {service.name for service in ready}
        waiting = [service for service in waiting if service.name not in placed]


def _fingerprint(settings: Settings, services: tuple[Service, ...], version: str) -> str:
    secrets = [hashlib.sha256(value.get_secret_value().encode()).hexdigest() for value in given_secrets(settings).values()]
    text = "\n".join([version, settings.model_dump_json(), repr(services), *secrets])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
