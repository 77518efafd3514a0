"""What `up`, `down`, `status`, `logs` and `reset` do where the stack of this folder runs in containers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from freehold.cli import output

if TYPE_CHECKING:
    from freehold.config.load import Loaded
    from freehold.targets.compose.docker import Container

#: The code of `Unhealthy`.
_NOT_WELL = 5


def folder() -> Path:
    """Where the Compose folder of this folder's stack lies."""
    from freehold.config import paths

    return paths.home() / "compose"


def chosen() -> bool:
    """Whether the stack of this folder is one of containers: it was written, and no native one runs beside it."""
    from freehold.config import paths
    from freehold.targets.compose.write import MARKER
    from freehold.targets.native.home import Home

    return (folder() / MARKER).exists() and not Home(paths.home()).is_running()


async def up(loaded: Loaded, *, json: bool) -> None:
    """Write the folder, build, start, wait."""
    from freehold.config import paths
    from freehold.core.errors import Conflict
    from freehold.operate.checks import refuse
    from freehold.operate.containers import write_folder
    from freehold.targets.compose import run
    from freehold.targets.native import machine
    from freehold.targets.native.home import Home

    home = Home(paths.home())
    if home.is_running():
        raise Conflict("a native stack runs in this folder", hint="`freehold down` stops it first")
    home.create()
    found, progress = machine.detect(), output.progress(json)
    await refuse(loaded.settings, found, folder())
    written = await write_folder(loaded.settings, found, folder(), progress)
    containers = await run.up(folder(), progress)
    new_key = (folder() / "secrets" / "api_key").read_text(encoding="utf-8").strip() if "api_key" in written.made else None
    data = {"status": "running", "url": written.stack.server_url, "api_key": new_key, "services": [output.plain(c) for c in containers]}
    output.emit(data, lambda: _greeting(written.stack.server_url, new_key), json=json)


def _greeting(url: str, new_key: str | None) -> str:
    lines = [output.paint("Freehold is up, in containers.", "1;32"), "", f"  {url}", "", f"  the Compose folder is {folder()}"]
    lines += [f"  the first API key is in {folder() / 'secrets' / 'api_key'}"]
    if new_key:
        lines += [f"  {new_key}", "  It is shown this once."]
    asking = f"FREEHOLD_SERVER_URL={url} FREEHOLD_API_KEY=$(cat {folder() / 'secrets' / 'api_key'}) freehold ask"
    return "\n".join([*lines, "", "Try:", "  freehold status", f'  {asking} "What is 42 * 17? Use the calculator."'])


async def down(*, json: bool) -> None:
    from freehold.targets.compose import run

    stopped = await run.down(folder())
    text = f"stopped: {', '.join(stopped)}; the data in its volumes is kept" if stopped else "nothing was running"
    output.emit({"stopped": stopped, "folder": str(folder())}, text, json=json)


async def reset(*, json: bool) -> None:
    """Delete containers and volumes; the folder itself goes with the rest of the state."""
    from freehold.targets.compose import run

    await run.delete(folder())
    output.emit({"deleted": True, "folder": str(folder())}, "deleted the containers and volumes of this stack", json=json)


async def status(*, json: bool) -> None:
    from freehold.targets.compose import docker

    await docker.version()
    containers = await docker.containers(folder())
    well = bool(containers) and all(container.is_well for container in containers)
    data = {"running": bool(containers), "healthy": well, "target": "compose", "services": [output.plain(one) for one in containers]}
    output.emit(data, lambda: _table(containers) if containers else "not running; start it with `freehold up`", json=json)
    if not well:
        raise typer.Exit(_NOT_WELL)


def _table(containers: list[Container]) -> str:
    rows = [(one.service, _state(one), ", ".join(map(str, one.ports)) or "-", one.name, one.status) for one in containers]
    return output.table(rows, ("SERVICE", "STATE", "PORT", "CONTAINER", "STATUS"))


def _state(container: Container) -> str:
    if container.state == "exited":
        return "done" if container.exit_code == 0 else f"failed ({container.exit_code})"
    return container.health or container.state


async def logs(service: str | None, *, follow: bool, lines: int) -> None:
    from freehold.targets.compose import run

    await run.logs(folder(), service, follow=follow, lines=lines)
