"""The sections of a `langgraph.json` beside its graphs, as frozen typed values: what a project asks of store, HTTP, auth and image.

A wrong value is a ConfigError that names its key, `http.cors.max_age`; a key nobody knows becomes a finding, because newer
tools add new ones. Names, defaults and meanings are those of the schema that langgraph-cli publishes (MIT), 0.4.40. A null
is as good as a key left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from freehold.core.errors import ConfigError

_TEMPLATE = re.compile(r"\$\{\{\s*env\.(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def _is_reference(value: str) -> str:
    target, separator, attribute = value.rpartition(":")
    if not separator or not target or not attribute.isidentifier():
        raise ValueError('expected "path.py:variable" or "module:variable"')
    return value


def _is_regex(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"expected a regular expression: {error}") from error
    return value


def _is_prefix(value: str) -> str:
    if value and (not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", value) or {".", ".."} & set(value.split("/"))):
        raise ValueError('expected a path such as "/api"')
    return value


#: `./auth.py:auth` or `package.module:auth`; `loader.load_object` imports it.
Reference = Annotated[str, AfterValidator(_is_reference)]
Minutes = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Base of all sections: frozen, strict about types, unknown keys kept aside as findings."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")


class IndexConfig(Section):
    """`store.index`: what semantic search needs."""

    #: Length of a vector; the embedder's must be the same.
    dims: Count
    #: `openai:text-embedding-3-small`, or a function of the project's own, `./embed.py:embed`; None: freehold.toml's embedding model.
    embed: str | None = None
    #: Paths into an item's value that are embedded one by one; `$` is all of it.
    fields: tuple[str, ...] = ("$",)


class StoreTtlConfig(Section):
    """`store.ttl`: when items vanish."""

    #: Whether a read lets an item live anew, where the request does not say.
    refresh_on_read: bool = True
    default_ttl: Minutes | None = None
    #: None: every five minutes. Items are not shown from the moment they expire.
    sweep_interval_minutes: Minutes | None = None


class StoreConfig(Section):
    """`store`: the long-term memory."""

    index: IndexConfig | None = None
    ttl: StoreTtlConfig | None = None


class ThreadTtlConfig(Section):
    """`checkpointer.ttl`: what becomes of threads nobody touches."""

    #: `delete`: the thread with all it has. `keep_latest`: its older checkpoints.
    strategy: Literal["delete", "keep_latest"] = "delete"
    default_ttl: Minutes | None = None
    sweep_interval_minutes: Minutes = 5.0
    #: Threads of one sweep.
    sweep_limit: Count = 1000


class SerdeConfig(Section):
    """`checkpointer.serde`: which types of the project are revived from checkpoints. Pickle is refused."""

    #: `["my_agent.models", "MyState"]` each. "All" is not to be had: reviving a type runs its code.
    allowed_msgpack_modules: tuple[tuple[str, str], ...] = ()
    allowed_json_modules: tuple[tuple[str, ...], ...] | bool = ()
    pickle_fallback: bool = False


class CheckpointerConfig(Section):
    """`checkpointer`."""

    path: Reference | None = None
    ttl: ThreadTtlConfig | None = None
    serde: SerdeConfig | None = None


class SecurityConfig(Section):
    """`auth.openapi`: what the OpenAPI document says about credentials; parts of that document, taken over as they are."""

    securitySchemes: Mapping[str, Mapping[str, Any]] = {}
    security: tuple[Mapping[str, tuple[str, ...]], ...] = ()
    #: path -> method -> security of that operation.
    paths: Mapping[str, Mapping[str, tuple[Mapping[str, tuple[str, ...]], ...]]] = {}


class AuthCacheConfig(Section):
    """`auth.cache`: for how long an answer of the authenticate handler may be used again."""

    #: Names of the headers that tell callers apart.
    cache_keys: tuple[str, ...] = ()
    ttl_seconds: Count | None = None
    max_size: Count | None = None


class AuthConfig(Section):
    """`auth`: a `langgraph_sdk.Auth` of the project's own."""

    path: Reference
    disable_studio_auth: bool = False
    openapi: SecurityConfig | None = None
    cache: AuthCacheConfig | None = None


class CorsConfig(Section):
    """`http.cors`: which web pages may call, and what they may read. Names and meanings are those of Starlette's middleware."""

    #: `https://example.com`; `*` stands for every page.
    allow_origins: tuple[str, ...] = ()
    allow_origin_regex: Annotated[str, AfterValidator(_is_regex)] | None = None
    allow_methods: tuple[str, ...] = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    allow_headers: tuple[str, ...] = ("*",)
    allow_credentials: bool = False
    expose_headers: tuple[str, ...] = ()
    #: Seconds a browser may keep the answer to its preflight.
    max_age: Annotated[int, Field(ge=0)] = 600


class HeaderPatterns(Section):
    """Names of headers, `*` standing for any characters: `{"includes": ["x-tenant-*"], "excludes": ["*key*"]}`. Exclusions win."""

    includes: tuple[str, ...] | None = None
    excludes: tuple[str, ...] | None = None


class HttpConfig(Section):
    """`http`: the project's own routes and what of ours is served beside them."""

    app: Reference | None = None
    disable_assistants: bool = False
    disable_threads: bool = False
    disable_runs: bool = False
    disable_store: bool = False
    disable_mcp: bool = False
    disable_a2a: bool = False
    disable_meta: bool = False
    disable_ui: bool = False
    disable_webhooks: bool = False
    cors: CorsConfig | None = None
    configurable_headers: HeaderPatterns | None = None
    logging_headers: HeaderPatterns | None = None
    middleware_order: Literal["auth_first", "middleware_first"] = "middleware_first"
    enable_custom_route_auth: bool = False
    mount_prefix: Annotated[str, AfterValidator(_is_prefix)] = ""


class WebhookUrlPolicy(Section):
    """`webhooks.url`: where runs may ask to be reported to."""

    require_https: bool = False
    #: `hooks.example.com` or `*.example.com`, which is its subdomains only. Empty: every public host.
    allowed_domains: tuple[str, ...] = ()
    #: Empty: every port.
    allowed_ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = ()
    max_url_length: Count | None = None
    #: Refuses `/path`, which is a route of the project's own.
    disable_loopback: bool = False


class WebhooksConfig(Section):
    """`webhooks`."""

    #: Only variables whose names begin so may appear in headers.
    env_prefix: str = "LG_WEBHOOK_"
    url: WebhookUrlPolicy = WebhookUrlPolicy()
    #: `{"Authorization": "Bearer ${{ env.LG_WEBHOOK_TOKEN }}"}`.
    headers: Mapping[str, str] = {}

    @model_validator(mode="after")
    def _variables_are_allowed(self) -> WebhooksConfig:
        for name, value in self.headers.items():
            if not _HEADER_NAME.fullmatch(name) or "\n" in value or "\r" in value:
                raise ValueError(f'headers: expected a header of one line, got "{name}"')
            for match in _TEMPLATE.finditer(value):
                if not match["name"].startswith(self.env_prefix):
                    raise ValueError(f"headers.{name}: expected variables that begin with {self.env_prefix}, got {match['name']}")
        return self

    def filled_headers(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The headers with variables of `environ` in place of their templates.

        Raises:
            ConfigError: a variable is not set; the message names it, never a value.
        """

        def value_of(match: re.Match[str]) -> str:
            if match["name"] not in environ:
                raise ConfigError(f"webhooks.headers: the variable {match['name']} is not set", hint="set it, or take the header out")
            return environ[match["name"]]

        return {name: _TEMPLATE.sub(value_of, value) for name, value in self.headers.items()}


class EncryptionConfig(Section):
    """`encryption`: a `langgraph_sdk.Encryption` of the project's own."""

    path: Reference


class PriorityConfig(Section):
    """`priority`: a `langgraph_sdk.Priority` of the project's own."""

    path: Reference


class UvSource(Section):
    """`source`: the project is a uv project, and its lock file says what is installed."""

    kind: Literal["uv"]
    root: str = "."
    package: str | None = None


class BuildConfig(Section):
    """Keys that shape an image or an installation; `freehold build` reads them, a server that runs in place has no use for them."""

    python_version: Annotated[str, Field(pattern=r"^3\.(1[1-9]|[2-9]\d)$")] | None = None
    node_version: str | None = None
    base_image: str | None = None
    image_distro: Literal["debian", "bookworm", "wolfi"] | None = None
    dockerfile_lines: tuple[str, ...] = ()
    pip_config_file: str | None = None
    pip_installer: Literal["auto", "pip", "uv"] = "auto"
    keep_pkg_tools: bool | tuple[Literal["pip", "setuptools", "wheel"], ...] = False
    source: UvSource | None = None
    api_version: str | None = None


class Sections(Section):
    """Everything but graphs, dependencies and env."""

    store: StoreConfig | None = None
    checkpointer: CheckpointerConfig | None = None
    auth: AuthConfig | None = None
    http: HttpConfig | None = None
    webhooks: WebhooksConfig | None = None
    encryption: EncryptionConfig | None = None
    priority: PriorityConfig | None = None
    ui: Mapping[str, str] = {}
    ui_config: Mapping[str, Any] = {}


Parsed = TypeVar("Parsed", bound=Section)

#: Top-level keys of `Sections` and of `BuildConfig`.
SECTION_KEYS = frozenset(Sections.model_fields)
BUILD_KEYS = frozenset(BuildConfig.model_fields)


def parse(kind: type[Parsed], content: Mapping[str, Any], keys: frozenset[str], file: Path) -> Parsed:
    """The keys of a file's content that `kind` is about, checked.

    Raises:
        ConfigError: a value is wrong; all of them are listed, each with its key.
    """
    chosen = {key: content[key] for key in content if key in keys}
    try:
        return kind.model_validate_json(json.dumps(_without_nulls(chosen)))  # as JSON: arrays are tuples then, strictly
    except ValidationError as error:
        raise ConfigError("\n".join(f"{file}: {line}" for line in dict.fromkeys(_problems(error)))) from error


def unknown_keys(section: Section, prefix: str = "") -> Iterator[str]:
    """Dotted names of what is in a section and not in its schema, e.g. `http.cors.max_aeg`."""
    yield from (f"{prefix}{name}" for name in section.model_extra or {})
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from unknown_keys(value, f"{prefix}{name}.")


def _without_nulls(value: Any) -> Any:
    return {key: _without_nulls(item) for key, item in value.items() if item is not None} if isinstance(value, dict) else value


#: Kind of pydantic's error -> what was expected; other kinds say it well enough themselves.
_EXPECTED: Mapping[str, str] = {
    "bool_type": "true or false",
    "dict_type": "an object",
    "float_type": "a number",
    "int_type": "a whole number",
    "missing": "a value",
    "model_type": "an object",
    "string_type": "text",
    "string_pattern_mismatch": 'a version such as "3.12"',
    "tuple_type": "a list",
}


def _problems(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"] if _is_key(str(part)))
        message = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        shown = "nothing" if problem["type"] == "missing" else json.dumps(problem["input"], default=str)[:60]
        if problem["type"] == "value_error" and not message.startswith("expected"):
            yield f"{key}.{message}"
        else:
            yield f"{key}: expected {_EXPECTED.get(problem['type'], message.removeprefix('expected '))}, got {shown}"


def _is_key(part: str) -> bool:
    """A union adds the names of its members to a place, `bool` or `tuple[str, ...]`."""
    return part != "bool" and not part.startswith("tuple[")
