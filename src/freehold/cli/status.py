"""`freehold status`, and what `freehold` alone says."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli import containers, output

if TYPE_CHECKING:
    from freehold.control.protocol import ServiceStatus, StackStatus
    from freehold.operate.bottleneck import Bottleneck

#: What `freehold status` returns where something is not well: the code of `Unhealthy`.
_NOT_WELL = 5


async def status(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Each service: its state and why, pid, port, since when, memory. Where something waits: what for, and what to add."""
    if containers.chosen():
        return await containers.status(json=json)
    now = await _ask()
    if now is None:
        output.emit({"running": False, "services": []}, "not running; start it with `freehold up`", json=json)
        raise typer.Exit(_NOT_WELL)
    found = await _bottleneck() if now.is_healthy else None
    output.emit({**_data(now), "bottleneck": found}, lambda: f"{_table(now)}{_named(found)}", json=json)
    if not now.is_healthy:
        raise typer.Exit(_NOT_WELL)


async def overview() -> None:
    """What runs here and what to do next."""
    now = await _ask()
    if now is None:
        text = (
            "No stack runs in this folder.\n\nTry:\n  freehold up --detach      start a private agent here\n"
            "  freehold doctor           check this machine\n  freehold --help           all commands"
        )
    else:
        text = (
            f'{_table(now)}\n\n{now.server_url}\n\nTry:\n  freehold ask "What can you do?"\n  freehold chat\n'
            "  freehold ingest PATH      let it read your documents\n  freehold logs server -f\n  freehold down"
        )
    output.emit(None, text)


async def _ask() -> StackStatus | None:
    from freehold.config import paths
    from freehold.core.errors import Unhealthy
    from freehold.targets.native import run
    from freehold.targets.native.home import Home

    home = Home(paths.home())
    try:
        return await run.status(home) if home.is_running() else None
    except Unhealthy:
        return None


async def _bottleneck() -> Bottleneck | None:
    from freehold.config import load, paths
    from freehold.core.errors import FreeholdError
    from freehold.operate.load import bottleneck
    from freehold.targets.native.home import Home

    try:
        model = load.load().settings.model
        return await bottleneck(Home(paths.home()), places=model.parallel * model.replicas)
    except FreeholdError:  # it ended in this moment, or its settings were changed to wrong ones: the table is what was asked for
        return None


def _named(found: Bottleneck | None) -> str:
    """Nothing where nothing waits."""
    if found is None or found.part == "none":
        return ""
    todo = f"\n{'':12}{found.todo}" if found.todo else ""
    return f"\n\nbottleneck  {found.part}: {found.why}{todo}"


def _data(now: StackStatus) -> dict[str, object]:
    return {
        "running": True,
        "healthy": now.is_healthy,
        "name": now.name,
        "version": now.version,
        "url": now.server_url,
        "supervisor": now.pid,
        "since": now.since,
        "stopping": now.stopping,
        "services": [output.plain(service) for service in now.services],
    }


def _table(now: StackStatus) -> str:
    rows = [_row(service) for service in now.services]
    return output.table(rows, ("SERVICE", "STATE", "PID", "PORT", "SINCE", "MEMORY", "WHY"))


def _row(service: ServiceStatus) -> tuple[str, ...]:
    return (
        service.name,
        service.state,
        str(service.pid or "-"),
        ", ".join(str(port) for port in service.ports) or "-",
        f"{output.duration(time.time() - service.since)} ago" if service.since else "-",
        output.size(service.memory_bytes) if service.memory_bytes else "-",
        "; ".join(part for part in (service.why, _restarted(service)) if part),
    )


def _restarted(service: ServiceStatus) -> str:
    if not service.restarts:
        return ""
    times = "once" if service.restarts == 1 else f"{service.restarts} times"
    return f"restarted {times}" if service.ended == service.why else f"restarted {times}: it {service.ended}"
