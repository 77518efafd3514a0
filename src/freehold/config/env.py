"""The only reader of the environment: every variable Freehold looks at, with a sentence each.

Nothing else in the package touches `os.environ`; a test proves it. Processes started by the native target get their
settings through these same variables, so a container or a systemd unit can set them by hand.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Variable:
    """One environment variable: its name, what it does, and whether its value must never be shown."""

    name: str
    about: str
    secret: bool = False


VARIABLES: tuple[Variable, ...] = (
    Variable("FREEHOLD_HOME", "Folder with the state of a stack (default: .freehold in the working directory)."),
    Variable("FREEHOLD_CACHE", "Folder for models and built engines (default: the user's cache folder)."),
    Variable("FREEHOLD_CONFIG", "Path of freehold.toml (default: freehold.toml in the working directory, where there is one)."),
    Variable("FREEHOLD_ENV", "Name of an overlay: `production` lays freehold.production.toml over freehold.toml."),
    Variable("DATABASE_URL", "PostgreSQL of your own; replaces the embedded one.", secret=True),
    Variable(
        "FREEHOLD_MIGRATION_DATABASE_URL",
        "Role that owns the tables and migrates them, never through a connection pooler (default: DATABASE_URL).",
        secret=True,
    ),
    Variable("FREEHOLD_PROVISION_DATABASE_URL", "Superuser of a server of our own: creates roles, database and extension.", secret=True),
    Variable(
        "FREEHOLD_SERVICE_DATABASE_URLS",
        "Databases of other services on that server, one role each; URLs with spaces between them.",
        secret=True,
    ),
    Variable("FREEHOLD_MONITOR_DATABASE_URL", "Role that an exporter of metrics connects to that server as.", secret=True),
    Variable(
        "FREEHOLD_DIRECT_DATABASE_URL",
        "Set for agents where the stack has a pooler: the database without it, for code of yours that needs a session (LISTEN).",
        secret=True,
    ),
    Variable("FREEHOLD_READER_DATABASE_URL", "Read-only role that the query_database tool connects as.", secret=True),
    Variable("REDIS_URL", "Redis or Valkey of your own; replaces the embedded one.", secret=True),
    Variable("OPENAI_BASE_URL", "Any OpenAI-compatible endpoint; then no model server is started."),
    Variable("OPENAI_API_KEY", "Key for OPENAI_BASE_URL.", secret=True),
    Variable("FREEHOLD_AGENTS", "Path of the langgraph.json to serve (same as agents.config)."),
    Variable("FREEHOLD_MODEL", "Model name to ask the endpoint for, or a catalogue id (same as model.name)."),
    Variable("FREEHOLD_MODEL_CONTEXT", "Tokens of context for each conversation (same as model.context)."),
    Variable("FREEHOLD_MODEL_<NAME>_BASE_URL", "Endpoint of the model in [models.name]; in <NAME> capitals, and _ for -."),
    Variable("FREEHOLD_MODEL_<NAME>_NAME", "What that endpoint calls the model."),
    Variable("FREEHOLD_MODEL_<NAME>_API_KEY", "Key for that endpoint.", secret=True),
    Variable("HF_TOKEN", "Token for gated models on the model hub.", secret=True),
    Variable("HF_ENDPOINT", "Base URL of a mirror of the model hub."),
    Variable("HF_HUB_OFFLINE", "1: never ask the model hub."),
    Variable("FREEHOLD_SERVER_URL", "Server that ask, chat, ingest and search talk to (default: the stack of this folder)."),
    Variable("FREEHOLD_API_KEY", "API key that the command line sends to the server.", secret=True),
    Variable("FREEHOLD_BOOTSTRAP_API_KEY", "First API key of the server, set by the supervisor where keys are needed.", secret=True),
    Variable("FREEHOLD_PUBLIC_URLS", "URLs under which the edge shows the server, with spaces between them (same as server.public_urls)."),
    Variable("FREEHOLD_TRUSTED_PROXIES", "Addresses and networks whose X-Forwarded-For is believed (same as server.trusted_proxies)."),
    Variable("FREEHOLD_SERVER_AUTH", "Who may call the server (same as server.auth)."),
    Variable("FREEHOLD_EDGE_CERTIFICATE_FILE", "Where a container finds edge.certificate."),
    Variable("FREEHOLD_EDGE_KEY_FILE", "Where a container finds edge.key."),
    Variable("FREEHOLD_EDGE_USERS_FILE", "Where a container finds edge.users."),
    Variable("FREEHOLD_WEBUI_API_KEY", "Key that Open WebUI sends to the server, set by the stack where keys are needed.", secret=True),
    Variable("FREEHOLD_IDENTITY", "Set by the supervisor: marks a process as one of its own.", secret=False),
    Variable("FREEHOLD_READY_FILE", "Set by the supervisor: a worker writes this file once it takes work."),
    Variable("PROMETHEUS_MULTIPROC_DIR", "Folder through which workers hand their metrics to the server's /metrics."),
    Variable("FREEHOLD_MEASURES", "Folder where commands leave figures for Prometheus (default: data/measures in FREEHOLD_HOME)."),
    Variable("FREEHOLD_METRICS_KEY", "Key that opens GET /metrics and nothing else, sent as a bearer token.", secret=True),
    Variable("FREEHOLD_METRICS_ADDRESS", "HOST:PORT where a worker shows its own metrics, if it shares no folder with the server."),
    Variable("OTEL_EXPORTER_OTLP_ENDPOINT", "Where traces are sent, OTLP over HTTP (same as telemetry.otlp_endpoint)."),
    Variable("OTEL_EXPORTER_OTLP_HEADERS", "Headers for it, e.g. authorization=Bearer%20...", secret=True),
    Variable("LANGFUSE_BASE_URL", "The Langfuse that traces are sent to (same as tracing.langfuse.base_url)."),
    Variable("LANGFUSE_PUBLIC_KEY", "Public key of its project (same as tracing.langfuse.public_key).", secret=True),
    Variable("LANGFUSE_SECRET_KEY", "Secret key of its project (same as tracing.langfuse.secret_key).", secret=True),
    Variable(
        "FREEHOLD_WEBHOOK_SECRET", "What the secrets that webhooks are signed with are derived from (same as webhooks.secret).", secret=True
    ),
    Variable("CUDA_VISIBLE_DEVICES", "GPUs that may be used, by the numbers nvidia-smi shows, e.g. 1,2 (default: all)."),
    Variable("FREEHOLD_LLAMA_SERVER", "Path of a llama-server to use instead of fetching or building one."),
    Variable("NOTIFY_SOCKET", "Set by systemd: where it is told that the stack is ready."),
    Variable("NO_COLOR", "Any value: plain output without colours."),
    Variable("CI", "Any value: no prompts and no moving progress bars."),
)

_NAMES = frozenset(variable.name for variable in VARIABLES)


def get(name: str, environ: Mapping[str, str] | None = None) -> str | None:
    """The value of a declared variable, or None where it is unset or empty.

    Raises:
        KeyError: the variable is not declared in `VARIABLES`.
    """
    if name not in _NAMES:
        raise KeyError(f"{name} is not declared in config/env.py")
    return (os.environ if environ is None else environ).get(name) or None


_FURTHER_MODEL = re.compile(r"FREEHOLD_MODEL_([A-Z0-9_]+)_(BASE_URL|NAME|API_KEY)")


def of_model(name: str, what: Literal["BASE_URL", "NAME", "API_KEY"]) -> str:
    """The variable of a model in `[models.NAME]`: `("small-coder", "NAME")` → `"FREEHOLD_MODEL_SMALL_CODER_NAME"`."""
    return f"FREEHOLD_MODEL_{name.upper().replace('-', '_')}_{what}"


def of_models(environ: Mapping[str, str] | None = None) -> dict[tuple[str, str], tuple[str, str]]:
    """What is set for models in `[models.NAME]`, as variable and value by name and key, e.g.
    `{("small-coder", "name"): ("FREEHOLD_MODEL_SMALL_CODER_NAME", "qwen")}`.
    """
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for variable, value in sorted((os.environ if environ is None else environ).items()):
        if value and (match := _FURTHER_MODEL.fullmatch(variable)):
            found[match[1].lower().replace("_", "-"), match[2].lower()] = (variable, value)
    return found


def is_secret(name: str) -> bool:
    """Whether a declared variable holds a secret."""
    return any(variable.name == name and variable.secret for variable in VARIABLES)


#: What programs of others get of our environment: enough to run and to find an accelerator, none of the user's keys.
_MINIMAL = frozenset({"PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"})
_MINIMAL_PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "ROCR_", "HIP_", "GGML_", "OMP_", "VLLM_")
_NEVER = ("_KEY", "_TOKEN", "_SECRET", "_PASSWORD")


def minimal(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """A small environment for programs that are not ours, with `extra` on top."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _MINIMAL or (name.startswith(_MINIMAL_PREFIXES) and not name.endswith(_NEVER))
    }
    return {**kept, **(extra or {})}


def whole() -> Mapping[str, str]:
    """Everything that is set, for what a user's project names itself (`${{ env.NAME }}` in langgraph.json)."""
    return os.environ


def inherited(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment a child process starts with: ours, with `extra` on top."""
    return {**os.environ, **(extra or {})}


def choose_overlay(name: str | None) -> None:
    """What `--env` says counts for this process and all that it starts; None leaves the choice as it is."""
    if name is not None:
        os.environ["FREEHOLD_ENV"] = name


def fill(values: Mapping[str, str]) -> None:
    """Set variables of a user's project (`env` in langgraph.json) for this process; what is set already stays."""
    for name, value in values.items():
        os.environ.setdefault(name, value)


#: Set in every process of ours unless the user decided otherwise, before any of these libraries is imported.
PROCESS_DEFAULTS: Mapping[str, str] = {
    "LANGGRAPH_STRICT_MSGPACK": "true",  # checkpoints revive only LangGraph's and the graph's own types
    "LANGSMITH_TRACING": "false",
    "LANGCHAIN_TRACING_V2": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime reports from Linux too; its switch in Python comes too late
    "DO_NOT_TRACK": "1",
    "ANONYMIZED_TELEMETRY": "false",
    "TOKENIZERS_PARALLELISM": "false",
}


def set_process_defaults() -> None:
    """Make a process private and strict by default; called first thing by every entry point."""
    for name, value in PROCESS_DEFAULTS.items():
        os.environ.setdefault(name, value)
