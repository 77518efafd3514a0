"""How to reach the running stack of a folder: for commands that work on its database, its streams or its model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from freehold.config import paths
from freehold.core.errors import Unhealthy
from freehold.targets.native import secrets
from freehold.targets.native.home import Home
from freehold.targets.native.process import Rendered


@dataclass(frozen=True, repr=False)
class Connections:
    """URLs of a running stack, passwords included: never print or log one whole."""

    #: Role of the application.
    database_url: str
    #: Role that owns the tables; the application's where an external database has no other.
    migration_url: str
    #: Read-only role; None where an external database has none.
    reader_url: str | None
    redis_url: str
    #: The agent server, e.g. `http://127.0.0.1:8123`.
    server_url: str
    #: OpenAI-compatible endpoint, e.g. `http://127.0.0.1:8000/v1`; None where no model is served.
    model_base_url: str | None
    model_api_key: str | None
    #: What to send as `model`.
    model_name: str | None
    #: First API key of the agent server, where keys are needed.
    api_key: str | None = None


def connections(home: Path | None = None) -> Connections:
    """Connections of the stack that runs in a state folder.

    Args:
        home: the folder; default `FREEHOLD_HOME`, else `.freehold` in the working directory.

    Raises:
        NotConfigured: no stack was ever started there.
        Unhealthy: it is not running.
    """
    place = Home(home or paths.home())
    rendered = place.rendered()
    if not place.is_running():
        raise Unhealthy(f"the stack in {place.path} is not running", hint="start it with `freehold up`")
    return _from_rendered(rendered, place.secrets)


def _from_rendered(rendered: Rendered, folder: Path) -> Connections:
    env = {name: secrets.resolve(folder, process.env) for process in rendered.processes if (name := process.name) in {"server", "migrate"}}
    server, migrate = env["server"], env["migrate"]
    return Connections(
        database_url=server["DATABASE_URL"],
        migration_url=migrate.get("FREEHOLD_MIGRATION_DATABASE_URL", server["DATABASE_URL"]),
        reader_url=server.get("FREEHOLD_READER_DATABASE_URL"),
        redis_url=server["REDIS_URL"],
        server_url=rendered.server_url,
        model_base_url=server.get("OPENAI_BASE_URL"),
        model_api_key=server.get("OPENAI_API_KEY"),
        model_name=server.get("FREEHOLD_MODEL"),
        api_key=server.get("FREEHOLD_BOOTSTRAP_API_KEY"),
    )
