"""Starts, stops and shows the stack in a Compose folder."""

from __future__ import annotations

from pathlib import Path

from freehold.core.errors import NotConfigured, Unhealthy
from freehold.core.progress import Progress
from freehold.targets.compose import docker, write


async def up(folder: Path, progress: Progress) -> list[docker.Container]:
    """Build, start what is not running or has changed, and wait until everything is well.

    Raises:
        NotConfigured: Docker or Compose is missing.
        Unhealthy: something does not start; the hint names it.
    """
    await docker.version()
    with progress.step("images and containers: a first start fetches and builds, and models take minutes to load"):
        try:
            await docker.compose(folder, "up", "--detach", "--remove-orphans", "--wait", shown="progress")
        except Unhealthy as error:
            raise await _named(folder, error) from error
    return await docker.containers(folder)


async def down(folder: Path) -> list[str]:
    """Stop and remove the containers; volumes stay. Returns the services that ran."""
    await docker.version()
    running = sorted({container.service for container in await docker.containers(folder) if container.state == "running"})
    await docker.compose(folder, "down", "--remove-orphans", shown="progress")
    return running


async def delete(folder: Path) -> None:
    """Stop everything and delete its volumes: all data."""
    await docker.version()
    await docker.compose(folder, "down", "--remove-orphans", "--volumes", shown="progress")


async def logs(folder: Path, service: str | None, *, follow: bool, lines: int) -> None:
    """Show what services wrote."""
    await docker.version()
    wanted = [service] if service else []
    options = ["--tail", str(lines), *(["--follow"] if follow else [])]
    await docker.compose(folder, "logs", *options, *wanted, shown="data")


def require(folder: Path) -> None:
    """Raises:
    NotConfigured: no stack was written there.
    """
    if not (folder / write.MARKER).exists():
        raise NotConfigured(f"there is no Compose stack in {folder}", hint="`freehold up --target compose` starts one")


async def _named(folder: Path, error: Unhealthy) -> Unhealthy:
    """Which containers are not well, in the place of what Compose says."""
    bad = [container for container in await docker.containers(folder) if not container.is_well and container.state != "created"]
    if not bad:
        return error
    words = "; ".join(f"{container.service}: {container.status}" for container in bad)
    return Unhealthy(f"not everything is well: {words}", hint=f"`freehold logs {bad[0].service}` says why")
