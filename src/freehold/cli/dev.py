"""`freehold dev`: serve an agent project on an embedded database and reload it when a file changes."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli import output
from freehold.core.errors import Conflict, FreeholdError, NotConfigured, Unhealthy

if TYPE_CHECKING:
    from freehold.config.load import Loaded
    from freehold.stack.plan import Stack
    from freehold.targets.native.home import Home

#: What a change of makes the agents load again.
_WATCHED = frozenset({".py", ".json", ".toml", ".env", ".sql", ".md", ".txt", ".yaml", ".yml"})

#: Never watched: our own state and what tools write.
_IGNORED = frozenset({".freehold", ".git", ".venv", "venv", "__pycache__", "node_modules", ".mypy_cache", ".ruff_cache", ".pytest_cache"})

#: The services that hold the project's code.
_SERVING = ("worker", "server")


async def dev(
    config: Annotated[Path, typer.Option("--config", help="The project's langgraph.json.")] = Path("langgraph.json"),
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on; other than loopback, API keys are needed.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port to listen on (8123).")] = None,
    reload: Annotated[
        bool, typer.Option("--reload/--no-reload", help="Restart server and worker when a file of the project changes.")
    ] = True,
) -> None:
    """Serve an agent project with hot reload; no model server unless its freehold.toml has a [model] section."""
    from freehold.config import paths
    from freehold.targets.native import model, packages
    from freehold.targets.native import up as native
    from freehold.targets.native.home import Home

    loaded = _load(config, host, port)
    home, progress = Home(paths.home()), output.progress()
    without_model = loaded.settings.model.engine == "none"

    async def prepare(stack: Stack) -> model.Prepared:
        if without_model:
            return model.Prepared(await packages.prepare(stack, paths.cache(), progress))
        return await model.prepare(stack, paths.cache(), progress)

    outcome = await native.up(loaded, home, progress, prepare=prepare, attached=True)
    if outcome.supervisor is None:
        raise Conflict("a stack runs in this folder already", hint="`freehold down` ends it, then `freehold dev`")
    output.say(_greeting(config, outcome.status.server_url, loaded, reload=reload))
    await _stay(home, outcome.supervisor, config.parent if reload else None)


def _greeting(config: Path, url: str, loaded: Loaded, *, reload: bool) -> str:
    model = loaded.settings.model
    served = {"none": "none started; the agents bring their own"}.get(model.engine, model.base_url or f"on port {model.port}")
    return "\n".join(
        [
            output.paint(f"Serving {config}", "1;32"),
            f"  agent server   {url}",
            f"  API docs       {url}/docs",
            f"  model          {served}",
            f"Ctrl-C ends it.{' Changes are picked up.' if reload else ''}",
        ]
    )


def _load(config: Path, host: str | None, port: int | None) -> Loaded:
    from freehold.config.load import load

    if not config.is_file():
        raise NotConfigured(f"no project at {config}", hint="`freehold init NAME` makes one; --config names another langgraph.json")
    overrides: dict[str, object] = {"agents.config": str(config.absolute()), "server.host": host, "server.port": port}
    loaded = load(overrides=overrides)
    if any(key.startswith("model.") for key in loaded.origins):
        return loaded
    return load(overrides={**overrides, "model.engine": "none"})


async def _stay(home: Home, supervisor: subprocess.Popen[bytes], watched: Path | None) -> None:
    """Until Ctrl-C: reload on changes, then end in order."""
    from freehold.targets.native import up as native

    watching = asyncio.create_task(_reload_on_change(home, watched)) if watched else None
    try:
        while home.is_running():  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.5)
        raise Unhealthy("the stack has ended", hint="`freehold logs supervisor` says why")
    except asyncio.CancelledError:
        await native.end(home, supervisor, output.progress())
        output.say("all services have ended; the data is kept")
    finally:
        if watching:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching


async def _reload_on_change(home: Home, folder: Path) -> None:
    from watchfiles import awatch

    from freehold.config import paths
    from freehold.control import client
    from freehold.control.protocol import socket_path

    own = (home.path, paths.cache())
    async for changes in awatch(folder, watch_filter=lambda _, path: _matters(Path(path), folder, own)):
        names = sorted({Path(path).name for _, path in changes})
        output.say(f"changed: {', '.join(names[:3])}{' …' if len(names) > 3 else ''}; reloading")
        socket = socket_path(paths.runtime(home.path))
        for problem in await asyncio.gather(*(client.restart(socket, name) for name in _SERVING), return_exceptions=True):
            if isinstance(problem, FreeholdError):
                output.show_error(problem, json=False)
            elif problem:
                raise problem


def _matters(path: Path, folder: Path, own: Collection[Path]) -> bool:
    """Args:
    folder: what is watched.
    own: folders we write in ourselves, whatever their names; a reload for those would never end.
    """
    if path.suffix not in _WATCHED or any(path.resolve().is_relative_to(place.resolve()) for place in own):
        return False
    inside = path.relative_to(folder.absolute()) if path.is_relative_to(folder.absolute()) else path
    return not _IGNORED.intersection(inside.parts)
