"""What users write in `freehold.toml`, as frozen typed values. `example.toml` beside this file is its manual.

Each section is one class; field docstrings are the reference. Loading, origins and error messages are in `load.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from freehold.config.edge import EdgeSection
from freehold.config.model import AnyModelSection, FurtherModelSection, ModelName, ModelSection
from freehold.config.monitoring import MonitoringSection
from freehold.config.section import LOOPBACK_HOSTS, Port, PositiveInt, Seconds, Section, http_url
from freehold.config.services import ExperimentsSection, GatewaySection, PoolerSection, SearchSection, TracingSection, WebuiSection
from freehold.core.age import parse_age
from freehold.core.permissions import checked

#: JWS algorithms with a public key. One with a shared secret would let whoever checks tokens make them.
SigningAlgorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
_HOST_OR_NETWORK = re.compile(r"[0-9A-Za-z._-]+|[0-9A-Fa-f.:]+(/\d{1,3})?")

#: Services beside the agent server that one asks for by name, in the file or with `freehold up --with`.
Option = Literal["edge", "gateway", "webui", "monitoring", "tracing", "experiments", "search", "pooler"]


class StackSection(Section):
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")] = "freehold"
    """Name shown by `freehold status`; lower-case letters, digits and hyphens."""
    target: Literal["native", "compose"] = "native"
    """Where the stack runs: "native" (processes on this machine) or "compose" (containers)."""
    services: tuple[Option, ...] = ()
    """Services that run beside the agents: "edge", "gateway", "webui", "monitoring", "tracing", "experiments", "search", "pooler".
    `freehold up --with` adds to them."""


class GpuSection(Section):
    name: str = "GPU"
    """What it is called, e.g. "NVIDIA L4"."""
    memory_gb: Annotated[float, Field(gt=0)]
    """Its memory in GiB, as nvidia-smi counts it."""


class MachineSection(Section):
    cpus: PositiveInt | None = None
    """Processor cores; default: those of this machine."""
    memory_gb: Annotated[float, Field(gt=0)] | None = None
    """Main memory in GiB; default: that of this machine."""
    gpus: tuple[GpuSection, ...] | None = None
    """Its NVIDIA GPUs in the order of nvidia-smi, e.g. [{ name = "NVIDIA L4", memory_gb = 24 }]; default: those of this machine."""


def _origin(url: str, example: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path:
        raise ValueError(f'expected an origin such as "{example}", got "{url}"')
    return url.lower()


class ServerSection(Section):
    host: str = "127.0.0.1"
    """Address the agent server listens on. Anything but loopback demands API keys."""
    port: Port = 8123
    """Port of the agent server."""
    cors_origins: tuple[str, ...] = ()
    """Web origins that may call the API from a browser, e.g. ["http://localhost:3000"]."""
    auth: Literal["auto", "none", "keys", "oidc", "both"] = "auto"
    """Who may call: "none" (loopback only), "keys" (API keys), "oidc" (tokens of the issuer in [oidc]), "both", or "auto": none on
    loopback, keys elsewhere."""
    public_urls: tuple[str, ...] = ()
    """URLs under which a proxy on this machine shows it, e.g. ["https://agents.example.com"]; the stack's own edge is known."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed; the stack's own edge is known."""

    @field_validator("public_urls", "trusted_proxies", mode="before")
    @classmethod
    def _words(cls, given: object) -> object:
        return tuple(given.split()) if isinstance(given, str) else given  # from a variable of the environment

    @field_validator("public_urls")
    @classmethod
    def _public_urls_are_origins(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_origin(url, "https://agents.example.com") for url in urls)

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(ip_network(network)) for network in networks)

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_urls(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            _origin(origin, "http://localhost:3000")
        return origins

    @property
    def is_loopback(self) -> bool:
        return self.host in LOOPBACK_HOSTS

    @property
    def needs_keys(self) -> bool:
        """Whether a credential is needed at all, of whatever kind."""
        return self.takes_keys or self.takes_tokens

    @property
    def takes_keys(self) -> bool:
        return self.auth in {"keys", "both"} or (self.auth == "auto" and not self.is_loopback)

    @property
    def takes_tokens(self) -> bool:
        return self.auth in {"oidc", "both"}

    @property
    def url(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(self.host, self.host)  # noqa: S104 - mapping, not binding
        return f"http://{host}:{self.port}"


class OidcSection(Section):
    issuer: str | None = None
    """Who signs the tokens; what their `iss` says."""
    audience: tuple[str, ...] = ()
    """Whom the tokens are for: one of these stands in their `aud`. Needed: a token for another service is not for this one."""
    jwks_url: str | None = None
    """Where the issuer publishes its keys; default: what its /.well-known/openid-configuration says."""
    algorithms: tuple[SigningAlgorithm, ...] = ("RS256", "PS256", "ES256", "ES384", "EdDSA")
    """Signatures that are accepted; only such with a public key exist here."""
    owner_claim: str = "sub"
    """The claim that names the owner of what is made; "realm.name" looks into an object."""
    organisation_claim: str | None = None
    """The claim that names the owner's organisation; unset: all are in "local"."""
    scopes_claim: str | None = None
    """The claim that holds scopes (a list, or words in one text); unset: everybody has default_scopes."""
    scope_prefix: str = ""
    """Only scopes that begin with it count, and it is cut off: "freehold:" makes "freehold:read" the scope read."""
    default_scopes: tuple[str, ...] = ("write",)
    """What tokens may do where scopes_claim is unset."""
    required_claims: tuple[str, ...] = ()
    """Claims a token must have, e.g. ["email", "groups=staff"]; with `=` that value, or it among several."""
    clock_skew_seconds: Annotated[float, Field(ge=0, le=600)] = 30
    """How far the issuer's clock may differ from ours."""

    @field_validator("issuer", "jwks_url")
    @classmethod
    def _is_safe(cls, url: str | None) -> str | None:
        if url is not None:
            parts = urlsplit(url)
            if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS):
                raise ValueError(f'expected a URL such as "https://login.example.com/realms/main", got "{url}"')
        return url

    @field_validator("default_scopes")
    @classmethod
    def _are_scopes(cls, scopes: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(checked(scope) for scope in scopes)


class QuotaSection(Section):
    runs_per_minute: PositiveInt | None = None
    """Runs that may be started in any 60 seconds."""
    concurrent_runs: PositiveInt | None = None
    """Runs that may wait or be executed at the same time."""
    stored_mb: PositiveInt | None = None
    """Megabytes (10^6 bytes) that threads, documents and store may hold, as last measured; no run starts beyond it."""
    tokens_per_day: PositiveInt | None = None
    """Tokens that models may read and write in a day (UTC); no run starts beyond it."""


class QuotasSection(QuotaSection):
    organisation: QuotaSection = QuotaSection()


class AuditSection(Section):
    enabled: Literal["auto", "on", "off"] = "auto"
    """Whether it is written down who changed what, and who was refused. "auto": where a credential is needed."""


class WorkerSection(Section):
    count: PositiveInt = 1
    """Worker processes."""
    concurrency: PositiveInt = 10
    """Runs one worker process executes at once."""
    lease_seconds: Annotated[float, Field(ge=2, le=600)] = 12
    """A worker that is silent this long loses its runs to another one."""
    max_attempts: PositiveInt = 3
    """A run whose worker died this many times ends as an error."""
    drain_seconds: Seconds = 20
    """How long a stopping worker may finish the steps it is in."""


class AgentsSection(Section):
    config: Path | None = None
    """A langgraph.json to serve. Without it, ./langgraph.json where there is one, else the agent that Freehold ships."""
    shipped: bool = True
    """Serve the shipped agent ("assistant") beside the project's own graphs."""


class DatabaseSection(Section):
    url: SecretStr | None = None
    """PostgreSQL of your own with pgvector >= 0.8.4; replaces the embedded one. Better given as DATABASE_URL."""
    pool_size: Annotated[int, Field(ge=2, le=500)] = 20
    """Connections each server or worker process may hold."""


class RetentionSection(Section):
    checkpoints: str | None = None
    """Workers remove checkpoints older than this, e.g. "30d"; each thread keeps its newest, so every conversation goes on."""
    threads: str | None = None
    """Workers remove threads that nothing has happened on for this long, with everything they hold, e.g. "365d"."""
    audit: str | None = None
    """Workers remove entries of the audit log that are older than this, e.g. "365d"; those of the last day stay."""

    @field_validator("checkpoints", "threads", "audit")
    @classmethod
    def _is_an_age(cls, age: str | None) -> str | None:
        if age is not None and not parse_age(age):
            raise ValueError(f'expected an age above zero such as "30d", got "{age}"')
        return age


class RedisSection(Section):
    url: SecretStr | None = None
    """Redis >= 7 or Valkey of your own; replaces the embedded one. Better given as REDIS_URL."""


class KnowledgeSection(Section):
    embedding_model: str = "all-minilm-l6-v2"
    """Embedding model for documents and questions."""
    chunk_size: Annotated[int, Field(ge=64, le=20000)] = 1024
    """Characters in a chunk."""
    chunk_overlap: Annotated[int, Field(ge=0)] = 128
    """Characters that neighbouring chunks share."""
    top_k: Annotated[int, Field(ge=1, le=100)] = 4
    """Chunks a search returns."""
    min_score: Annotated[float, Field(ge=-1, le=1)] = 0.25
    """Cosine similarity under which a chunk counts as not relevant."""
    max_file_mb: Annotated[float, Field(gt=0)] = 50
    """Files larger than this are refused by ingest."""


class StoreSection(Section):
    semantic: bool = False
    """Whether items of the store are embedded with knowledge.embedding_model, so that searches find them by meaning.
    A langgraph.json with store.index decides for itself."""


class SqlSection(Section):
    url: SecretStr | None = None
    """Read-only role that query_database connects as; default on the embedded Postgres: a role made for it."""
    schemas: tuple[str, ...] = ("public",)
    """Schemas whose tables may be read."""
    row_limit: Annotated[int, Field(ge=1, le=10000)] = 100
    """Rows a query returns at most."""
    timeout_seconds: Annotated[float, Field(gt=0, le=300)] = 5
    """Statement timeout."""


class ToolsSection(Section):
    enabled: tuple[Literal["search_knowledge_base", "calculate", "query_database", "current_time"], ...] = (
        "search_knowledge_base",
        "calculate",
        "query_database",
        "current_time",
    )
    """Tools the shipped agent gets."""
    timeout_seconds: Seconds = 30
    """A tool call that takes longer is ended and the model is told so."""
    sql: SqlSection = SqlSection()


class LimitsSection(Section):
    model_calls: PositiveInt = 12
    """Model calls in one run of the shipped agent."""
    tool_calls: PositiveInt = 16
    """Tool calls in one run of the shipped agent."""
    output_tokens: PositiveInt = 1024
    """Tokens of one answer."""
    run_seconds: Seconds = 3600
    """A run that takes longer ends as a timeout."""
    request_body_mb: Annotated[float, Field(gt=0)] = 16
    """Larger request bodies are refused."""


class WebhooksSection(Section):
    require_https: bool = True
    """Refuse webhooks with http, but for hosts in allow_private."""
    allow_private: tuple[str, ...] = ()
    """Hosts and networks that webhooks may reach although they are not public, e.g. ["hooks.lan", "10.1.0.0/16"]."""
    secret: Annotated[SecretStr, Field(min_length=24)] | None = None
    """What the secret of each owner is derived from; default: one that is made at first use. Better given as FREEHOLD_WEBHOOK_SECRET."""
    attempts: Annotated[int, Field(ge=1, le=20)] = 8
    """Tries until a delivery is given up."""
    retry_seconds: Annotated[float, Field(gt=0, le=3600)] = 10
    """Pause after the first try; each later one is 4.4 times as long, so that 8 tries take about a day."""
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 10
    """A receiver that takes longer is tried again later."""
    server_url: str | None = None
    """Where workers reach the agent server, for webhooks that are a path; default: server.host and server.port."""

    @field_validator("allow_private")
    @classmethod
    def _are_hosts_or_networks(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        for entry in entries:
            if not _HOST_OR_NETWORK.fullmatch(entry):
                raise ValueError(f'expected host names, addresses or networks such as "10.1.0.0/16", got "{entry}"')
            if "/" in entry or ":" in entry:
                ip_network(entry)
        return entries

    @field_validator("server_url")
    @classmethod
    def _server_url_is_http(cls, url: str | None) -> str | None:
        return http_url(url, "http://server:8123")


class TelemetrySection(Section):
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """How much is logged."""
    log_format: Literal["auto", "json", "text"] = "auto"
    """"auto": text on a terminal, JSON elsewhere."""
    otlp_endpoint: str | None = None
    """Where traces are sent (OTLP over HTTP), e.g. "http://127.0.0.1:6006". Unset: no traces, no connection."""
    otlp_headers: SecretStr | None = None
    """Headers for it, e.g. "authorization=Bearer%20...". Better given as OTEL_EXPORTER_OTLP_HEADERS."""
    content: bool = False
    """Whether traces and logs may hold prompts, answers, tool arguments and the text of errors."""

    @field_validator("otlp_endpoint")
    @classmethod
    def _otlp_endpoint_is_http(cls, url: str | None) -> str | None:
        return http_url(url, "http://127.0.0.1:6006")


class Settings(Section):
    """A whole `freehold.toml`."""

    stack: StackSection = StackSection()
    machine: MachineSection = MachineSection()
    server: ServerSection = ServerSection()
    oidc: OidcSection = OidcSection()
    quotas: QuotasSection = QuotasSection()
    audit: AuditSection = AuditSection()
    worker: WorkerSection = WorkerSection()
    agents: AgentsSection = AgentsSection()
    model: ModelSection = ModelSection()
    models: dict[ModelName, FurtherModelSection] = Field(default_factory=dict)
    """More models, by name."""
    database: DatabaseSection = DatabaseSection()
    retention: RetentionSection = RetentionSection()
    redis: RedisSection = RedisSection()
    knowledge: KnowledgeSection = KnowledgeSection()
    store: StoreSection = StoreSection()
    tools: ToolsSection = ToolsSection()
    limits: LimitsSection = LimitsSection()
    webhooks: WebhooksSection = WebhooksSection()
    telemetry: TelemetrySection = TelemetrySection()
    gateway: GatewaySection = GatewaySection()
    webui: WebuiSection = WebuiSection()
    tracing: TracingSection = TracingSection()
    experiments: ExperimentsSection = ExperimentsSection()
    search: SearchSection = SearchSection()
    pooler: PoolerSection = PoolerSection()
    monitoring: MonitoringSection = MonitoringSection()
    edge: EdgeSection = EdgeSection()

    @property
    def every_model(self) -> Mapping[str, AnyModelSection]:
        """The sections of all models by their key, the default one first, e.g. `{"model": …, "models.coder": …}`."""
        return {"model": self.model, **{f"models.{name}": section for name, section in self.models.items()}}
