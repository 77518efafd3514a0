"""Calls `docker compose` on a folder: the one place that runs it."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from freehold.config import env
from freehold.core.errors import NotConfigured, Unhealthy

#: Oldest that knows all that is in our files: `configs` and `secrets` beside bind mounts, merges of several anchors, `nocopy`.
OLDEST = (2, 24)

_SHOWN_LINES = 12

#: Where people see what Docker says.
Shown = Literal["progress", "data"] | None


@dataclass(frozen=True)
class Container:
    """One container of a stack, as Compose tells of it."""

    name: str
    service: str
    #: "running", "exited", "created", "restarting", "paused", "dead".
    state: str
    #: "healthy", "unhealthy", "starting", or empty where nothing is asked.
    health: str
    exit_code: int
    #: e.g. "Up 5 minutes (healthy)".
    status: str
    #: Ports of the host.
    ports: tuple[int, ...] = ()

    @property
    def is_well(self) -> bool:
        if self.state == "exited":
            return self.exit_code == 0
        return self.state == "running" and self.health in ("", "healthy")


async def version() -> str:
    """Of Compose, e.g. `2.40.3`.

    Raises:
        NotConfigured: Docker or Compose is not there, or Compose is too old.
    """
    if shutil.which("docker") is None:
        raise NotConfigured(
            "Docker is not installed, or `docker` is not on the path",
            hint='install Docker Engine and its Compose plugin, or use stack.target = "native"',
        )
    try:
        text = (await _run(["docker", "compose", "version", "--short"])).strip()
    except Unhealthy as error:
        raise NotConfigured(
            "Docker has no Compose plugin (`docker compose`)", hint="install docker-compose-plugin; the old docker-compose does not do"
        ) from error
    numbers = tuple(int(part) for part in re.findall(r"\d+", text)[:2])
    if numbers < OLDEST:
        raise NotConfigured(f"Compose {text} is too old", hint=f"install {OLDEST[0]}.{OLDEST[1]} or newer")
    return text


async def answers() -> str | None:
    """Version of the Docker daemon; None where none answers."""
    try:
        return (await _run(["docker", "version", "--format", "{{.Server.Version}}"])).strip() or None
    except Unhealthy:
        return None


async def data_folder() -> str | None:
    """Where the daemon keeps images and volumes; None where none answers."""
    return await _info("{{.DockerRootDir}}")


async def runtimes() -> tuple[str, ...]:
    """Names of what containers can be run with, e.g. `("nvidia", "runc")`; devices of vendors (CDI) count by their vendor."""
    told = await _info("{{range $name, $_ := .Runtimes}}{{$name}} {{end}}") or ""
    devices = await _info("{{json .}}") or ""
    return (*told.split(), *(["nvidia"] if "nvidia.com/gpu" in devices else []))


async def _info(form: str) -> str | None:
    try:
        return (await _run(["docker", "info", "--format", form])).strip() or None
    except Unhealthy:
        return None


async def containers(folder: Path) -> list[Container]:
    """All containers of the stack in a folder, those that ended too."""
    text = await compose(folder, "ps", "--all", "--format", "json")
    return sorted((parse(json.loads(line)) for line in text.splitlines() if line.strip()), key=lambda one: one.name)


def parse(told: dict[str, object]) -> Container:
    """One object of `docker compose ps --format json`."""
    publishers = told.get("Publishers") or []
    assert isinstance(publishers, list)
    ports = sorted({int(one["PublishedPort"]) for one in publishers if one.get("PublishedPort")})
    code = told.get("ExitCode")
    return Container(
        name=str(told["Name"]),
        service=str(told["Service"]),
        state=str(told["State"]),
        health=str(told.get("Health") or ""),
        exit_code=code if isinstance(code, int) else 0,
        status=str(told.get("Status") or ""),
        ports=tuple(ports),
    )


def command(folder: Path, *arguments: str) -> tuple[str, ...]:
    """`docker compose ARGUMENTS` on a folder, as words."""
    return ("docker", "compose", "--file", str(folder / "compose.yaml"), *_override(folder), *arguments)


async def compose(folder: Path, *arguments: str, shown: Shown = None, given: bytes | None = None) -> str:
    """Run `docker compose ARGUMENTS` on a folder.

    Args:
        shown: "progress" goes to our standard error, "data" to our standard output; then nothing is returned.
        given: what it reads.

    Raises:
        Unhealthy: it failed; its last lines are the hint.
    """
    return await _run(command(folder, *arguments), shown=shown, given=given)


def _override(folder: Path) -> list[str]:
    """What people change beside our file; Compose looks for it only where no file is named."""
    path = folder / "compose.override.yaml"
    return ["--file", str(path)] if path.is_file() else []


async def _run(command: Sequence[str], *, shown: Shown = None, given: bytes | None = None) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=env.inherited(),
            stdin=asyncio.subprocess.DEVNULL if given is None else asyncio.subprocess.PIPE,
            stdout={"progress": sys.stderr.fileno(), "data": None, None: asyncio.subprocess.PIPE}[shown],
            stderr=None if shown else asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise Unhealthy(f"{command[0]} cannot be run: {error.strerror}") from error
    try:
        output, errors = await process.communicate(given)
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise
    if process.returncode:
        last = [line for line in (errors or b"").decode(errors="replace").splitlines() if line.strip()][-_SHOWN_LINES:]
        raise Unhealthy(f"`{' '.join(command[:2])} {command[-1]}` failed ({process.returncode})", hint="\n".join(last) or None)
    return (output or b"").decode(errors="replace")
