"""From files, environment and command line to one frozen `Settings`, remembering where every value came from.

Later sources win: defaults, `freehold.toml`, the overlay that `FREEHOLD_ENV` names, environment, command line. Every error names the
key, what was expected and the nearest valid key.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError

from freehold.config import env, overlay
from freehold.config.model import AnyModelSection, FurtherModelSection, processors
from freehold.config.settings import Settings
from freehold.core.errors import ConfigError

#: Environment variable -> key it sets.
FROM_ENVIRONMENT: Mapping[str, str] = {
    "DATABASE_URL": "database.url",
    "REDIS_URL": "redis.url",
    "OPENAI_BASE_URL": "model.base_url",
    "OPENAI_API_KEY": "model.api_key",
    "FREEHOLD_AGENTS": "agents.config",
    "FREEHOLD_MODEL": "model.name",
    "FREEHOLD_MODEL_CONTEXT": "model.context",
    "FREEHOLD_READER_DATABASE_URL": "tools.sql.url",
    "FREEHOLD_WEBHOOK_SECRET": "webhooks.secret",
    "FREEHOLD_PUBLIC_URLS": "server.public_urls",
    "FREEHOLD_TRUSTED_PROXIES": "server.trusted_proxies",
    "FREEHOLD_SERVER_AUTH": "server.auth",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "telemetry.otlp_endpoint",
    "OTEL_EXPORTER_OTLP_HEADERS": "telemetry.otlp_headers",
    "LANGFUSE_BASE_URL": "tracing.langfuse.base_url",
    "LANGFUSE_PUBLIC_KEY": "tracing.langfuse.public_key",
    "LANGFUSE_SECRET_KEY": "tracing.langfuse.secret_key",
}


@dataclass(frozen=True)
class Loaded:
    """Settings and the origin of each key that is not a default, e.g. `{"server.port": "--port"}`."""

    settings: Settings
    origins: Mapping[str, str]
    file: Path | None
    #: What was laid over it, e.g. `freehold.production.toml`.
    overlay: Path | None = None


def load(
    file: Path | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    services: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Loaded:
    """Read the configuration.

    Args:
        file: a freehold.toml; default `FREEHOLD_CONFIG`, else `freehold.toml` in `cwd` where there is one.
        overrides: dotted key -> value from the command line, e.g. `{"server.port": 9000}`; None values are ignored.
        services: added to `stack.services`.
        environ: environment to read; default the process's own.
        cwd: folder to look in; default the working directory.

    Raises:
        ConfigError: the file is missing or not TOML, or a key or value is wrong; all problems are listed.
    """
    folder = cwd or Path.cwd()
    path = _find(file, environ, folder)
    over = overlay.find(path, environ, folder)
    tree: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for source in (path, over):
        if source:
            read = _read(source)
            tree = overlay.laid_over(tree, read)
            origins |= {key: str(source) for key in _keys(read)}
    for variable, key in FROM_ENVIRONMENT.items():
        if value := env.get(variable, environ):
            _set(tree, key, value)
            origins[key] = f"${variable}"
    for (name, last), (variable, value) in env.of_models(environ).items():
        _set(tree, f"models.{name}.{last}", value)
        origins[f"models.{name}.{last}"] = f"${variable}"
    for key, value in (overrides or {}).items():
        if value is not None:
            _set(tree, key, value)
            origins[key] = "--" + key.split(".")[-1].replace("_", "-")
    if services:
        section = tree.get("stack")
        asked = section.get("services", ()) if isinstance(section, dict) else ()
        _set(tree, "stack.services", [*asked, *(name for name in services if name not in asked)])
        origins["stack.services"] = "--with"
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_explain(error, origins), hint="`freehold config show` prints every key with its value") from error
    _check_combinations(settings, origins)
    return Loaded(settings, origins, path, over)


def rows(loaded: Loaded) -> list[tuple[str, str, str]]:
    """Every key as (key, value, origin) for `config show`; secrets are shown as `********`."""
    return [(key, value, loaded.origins.get(key, "default")) for key, value in _flatten(loaded.settings)]


def _find(file: Path | None, environ: Mapping[str, str] | None, cwd: Path) -> Path | None:
    chosen = file or (Path(named) if (named := env.get("FREEHOLD_CONFIG", environ)) else None)
    if chosen:
        if not chosen.is_file():
            raise ConfigError(f"no configuration file at {chosen}", hint="check the path, or leave it out to use the defaults")
        return chosen
    usual = cwd / "freehold.toml"
    return usual if usual.is_file() else None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _keys(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for name, value in tree.items():
        found += _keys(value, f"{prefix}{name}.") if isinstance(value, dict) else [f"{prefix}{name}"]
    return found


def _set(tree: dict[str, Any], key: str, value: object) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        nested = tree.setdefault(parent, {})
        if not isinstance(nested, dict):
            raise ConfigError(f"{parent}: expected a section ([{parent}]), got {_kind(nested)}")
        tree = nested
    tree[last] = value


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        origin = next(
            (source for known, source in origins.items() if known == key or known.startswith(key + ".") or key.startswith(known + ".")),
            None,
        )
        source = f" ({origin})" if origin else ""
        if problem["type"] == "extra_forbidden":
            lines.append(f"{key}: no such key{source}{_nearest(key)}")
        elif problem["type"] == "model_type":
            lines.append(f"{key}: expected a section ([{key}]), got {_kind(problem['input'])}{source}")
        else:
            shown = "" if _is_secret(key) else f", got {problem['input']!r}"
            lines.append(f"{key}: {_lower(problem['msg'])}{shown}{source}")
    return "\n".join(lines)


def _kind(value: object) -> str:
    """What stands at the wrong level may be a secret."""
    return {str: "a text", bool: "true or false", int: "a number", float: "a number", list: "a list"}.get(type(value), "something else")


def _lower(message: str) -> str:
    message = message.removeprefix("Value error, ").removeprefix("Input should be ")
    return message if message.startswith("expected") else f"expected {message[:1].lower()}{message[1:]}"


def _nearest(key: str) -> str:
    parent, _, name = key.rpartition(".")
    known = [candidate for candidate, _ in _flatten(Settings())]
    if parent.startswith("models."):
        known += [candidate for candidate, _ in _flatten(FurtherModelSection(), f"{parent}.")]
    siblings = sorted({k.removeprefix(f"{parent}.").split(".")[0] for k in known if not parent or k.startswith(f"{parent}.")})
    elsewhere = [k for k in known if k.rsplit(".", 1)[-1] == name]
    close = difflib.get_close_matches(name, siblings, n=1, cutoff=0.5)
    if close and (parent or not elsewhere):
        return f'; did you mean "{f"{parent}." if parent else ""}{close[0]}"?'
    return f'; did you mean "{elsewhere[0]}"?' if elsewhere else f"; valid here: {', '.join(siblings)}"


_SECRET_KEYS = frozenset({"url", "api_key", "otlp_headers", "secret", "secret_key", "webhook_token", "slack_url", "smtp_password"})


def _is_secret(key: str) -> bool:
    return key.rsplit(".", 1)[-1] in _SECRET_KEYS


def _flatten(section: BaseModel, prefix: str = "") -> list[tuple[str, str]]:
    flat: list[tuple[str, str]] = []
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            flat += _flatten(value, f"{prefix}{name}.")
        elif isinstance(value, dict):
            for key, nested in value.items():
                flat += _flatten(nested, f"{prefix}{name}.{key}.")
        elif isinstance(value, SecretStr):
            flat.append((f"{prefix}{name}", "********"))
        elif isinstance(value, tuple):
            flat.append((f"{prefix}{name}", "[" + ", ".join(f'"{item}"' for item in value) + "]"))
        else:
            flat.append((f"{prefix}{name}", "" if value is None else str(value)))
    return flat


def _check_combinations(settings: Settings, origins: Mapping[str, str]) -> None:
    """Values that are each right but not together."""
    if settings.knowledge.chunk_overlap >= settings.knowledge.chunk_size:
        raise ConfigError(
            f"knowledge.chunk_overlap: expected less than knowledge.chunk_size ({settings.knowledge.chunk_size}), "
            f"got {settings.knowledge.chunk_overlap}"
        )
    if settings.server.auth == "none" and not settings.server.is_loopback:
        raise ConfigError(
            f'server.auth: "none" is allowed on loopback only, but server.host is {settings.server.host}',
            hint='remove server.auth (keys are used then), or set server.host = "127.0.0.1"',
        )
    if settings.server.takes_tokens and not (settings.oidc.issuer and settings.oidc.audience):
        raise ConfigError(
            f'oidc.issuer and oidc.audience: needed when server.auth is "{settings.server.auth}"',
            hint="the issuer is your identity provider's URL, the audience what its tokens for this server have in `aud`",
        )
    _check_edge(settings)
    for key, model in settings.every_model.items():
        _check_model(key, model)
    if settings.server.port == settings.model.port and not settings.model.base_url and settings.server.host == settings.model.host:
        raise ConfigError(f"model.port: expected another port than server.port ({settings.server.port})")
    _check_notify(settings)


def _check_edge(settings: Settings) -> None:
    """What `[edge]` needs, and that nobody gets in by it who was not meant to."""
    edge = settings.edge
    if edge.tls == "files" and not (edge.certificate and edge.key):
        raise ConfigError('edge.certificate and edge.key: needed when edge.tls is "files"')
    if edge.tls == "acme" and not any("." in name for name in edge.names):
        raise ConfigError('edge.names: needed when edge.tls is "acme"', hint="the public host names of this machine")
    if edge.auth == "basic" and not edge.users:
        raise ConfigError('edge.users: needed when edge.auth is "basic"', hint="`freehold edge user NAME --file edge.users` writes one")
    if settings.server.auth == "none":
        if settings.stack.target != "native":
            raise ConfigError('server.auth: "none" is for one machine; with containers the server is reached through others')
        if "edge" in settings.stack.services and edge.auth == "server" and not edge.is_private:
            raise ConfigError(
                'server.auth: "none" would let everybody in whom the edge reaches (edge.host, edge.names)',
                hint='remove server.auth (keys are used then), or set edge.auth = "basic"',
            )
    if edge.expose and not edge.names:
        raise ConfigError("edge.names: needed for edge.expose", hint="dashboards are shown under names below the first one")


def _check_notify(settings: Settings) -> None:
    notify = settings.monitoring.notify
    if notify.email_to and not (notify.email_from and notify.smtp_address):
        raise ConfigError("monitoring.notify.email_from and smtp_address: needed with email_to", hint="the mail server's name and port")
    if notify.webhook_token and not notify.webhook_url:
        raise ConfigError("monitoring.notify.webhook_url: needed with webhook_token")


def _check_model(key: str, model: AnyModelSection) -> None:
    """The keys of one model; `key` is its section, e.g. "models.coder"."""
    if model.engine == "openai" and not model.base_url:
        hint = "set it, or OPENAI_BASE_URL" if key == "model" else None
        raise ConfigError(f'{key}.base_url: needed when {key}.engine is "openai"', hint=hint)
    if key != "model" and model.name == "auto" and model.engine != "none":
        raise ConfigError(f"{key}.name: needed, as only [model] has a model chosen for it", hint="`freehold models list` shows models")
    wanted = model.tensor_parallel * model.replicas
    if model.gpus is not None and len(model.gpus) != wanted:
        raise ConfigError(
            f"{key}.gpus: expected {wanted} ({key}.tensor_parallel {model.tensor_parallel} x {key}.replicas {model.replicas}), "
            f"got {len(model.gpus)}: {list(model.gpus)}"
        )
    if model.cpus is not None and len(processors(model.cpus)) < model.replicas:
        raise ConfigError(f"{key}.cpus: expected one processor at least for each of {model.replicas} replicas, got {model.cpus}")
