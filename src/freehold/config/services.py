"""What `freehold.toml` says about the services that run beside the agents only where one asks for them (`stack.services`)."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator

from freehold.config.section import LOOPBACK_HOSTS, Port, PositiveInt, Seconds, Section, http_url

_ALIAS = re.compile(r"([^=\s]+)=([^=\s]+)")


class GatewaySection(Section):
    host: str = "127.0.0.1"
    """Address that the gateway (LiteLLM) listens on. It asks for a key everywhere."""
    port: Port = 4000
    """Port of the gateway."""
    aliases: tuple[str, ...] = ()
    """More names of models, e.g. ["gpt-4o=qwen2.5-7b-instruct"]: programs that insist on a name get the model behind it."""
    fallback: str | None = None
    """The model that answers where the default one cannot: a name of [models.NAME]."""
    agents: bool | None = None
    """Whether agents reach models through the gateway. Default: where there is a fallback, as that is what they gain by it."""
    retries: Annotated[int, Field(ge=0, le=10)] = 1
    """Further tries at the same model, before the fallback."""
    timeout_seconds: Seconds = 600
    """A model that takes longer for a whole answer is given up."""
    requests_per_minute: PositiveInt | None = None
    """Requests that each key may send in a minute; more is answered with 429. Default: as many as it likes."""

    @field_validator("aliases")
    @classmethod
    def _are_pairs(cls, aliases: tuple[str, ...]) -> tuple[str, ...]:
        for alias in aliases:
            if not _ALIAS.fullmatch(alias):
                raise ValueError(f'expected "name=model" such as "gpt-4o=qwen2.5-7b-instruct", got "{alias}"')
        return aliases

    @property
    def names(self) -> dict[str, str]:
        """Alias -> name of the model."""
        return dict(alias.split("=", 1) for alias in self.aliases)

    @property
    def serves_agents(self) -> bool:
        """Whether agents use it, where it runs."""
        return self.fallback is not None if self.agents is None else self.agents


class WebuiSection(Section):
    host: str = "127.0.0.1"
    """Address that Open WebUI listens on. It asks people to sign in everywhere."""
    port: Port = 8080
    """Port of Open WebUI."""
    admin_email: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")] = "admin@localhost"
    """What the first administrator signs in with; the password is generated, and shown once."""
    sign_up: bool = False
    """Whether people may make an account by themselves; an administrator has to let each in."""


class LangfuseSection(Section):
    base_url: str | None = None
    """The Langfuse that traces are sent to, e.g. "https://cloud.langfuse.com"."""
    public_key: str | None = None
    """Public key of its project, e.g. "pk-lf-..."."""
    secret_key: SecretStr | None = None
    """Secret key of its project. Better given as LANGFUSE_SECRET_KEY."""

    @field_validator("base_url")
    @classmethod
    def _base_url_is_http(cls, url: str | None) -> str | None:
        return http_url(url, "https://cloud.langfuse.com")


class TracingSection(Section):
    backend: Literal["phoenix", "langfuse", "otlp"] = "phoenix"
    """What traces are sent to: "phoenix" (a service of the stack), "langfuse" (one of yours, tracing.langfuse), or "otlp" (what
    telemetry.otlp_endpoint names)."""
    host: str = "127.0.0.1"
    """Address that Phoenix listens on. Anything but loopback makes people sign in."""
    port: Port = 6006
    """Port of Phoenix: pages, API, and OTLP over HTTP."""
    metrics_port: Port = 6007
    """Port of Phoenix's own metrics."""
    keep_days: PositiveInt | None = None
    """Phoenix forgets traces that are older than this many days; unset: it keeps them."""
    langfuse: LangfuseSection = LangfuseSection()

    @property
    def is_loopback(self) -> bool:
        return self.host in LOOPBACK_HOSTS


class ExperimentsSection(Section):
    port: Port = 5000
    """Port of MLflow. It knows no users, so it listens on loopback only; the edge can lead to it."""
    files_port: Port = 8333
    """Port of the store for files (SeaweedFS, S3). Its other parts listen on loopback, on ports of their own."""
    storage_gb: Annotated[int, Field(ge=1, le=100_000)] = 20
    """Gigabytes (2^30 bytes) that files of runs and models may take up."""


class SearchSection(Section):
    port: Port = 8888
    """Port of SearXNG."""
    engines: tuple[str, ...] = ()
    """Search engines that are asked, by SearXNG's names, e.g. ["duckduckgo", "wikipedia"]; empty: those SearXNG asks by default."""
    safe_search: Literal["off", "moderate", "strict"] = "moderate"
    """What is left out of the results."""
    timeout_seconds: Seconds = 4
    """An engine that is silent this long is left out of the answer."""


class PoolerSection(Section):
    port: Port = 6432
    """Port of PgBouncer; without containers the number in its socket's name."""
    connections: Annotated[int, Field(ge=1, le=1000)] = 20
    """Connections to the database that all servers and workers share."""
    clients: Annotated[int, Field(ge=10, le=100_000)] = 1000
    """Clients that may be connected to PgBouncer at once."""
