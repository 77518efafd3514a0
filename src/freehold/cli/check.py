"""`freehold check`: load the configuration and every graph of a project, look at the machine, and say what is wrong before it runs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli import output
from freehold.config import env
from freehold.config.load import load
from freehold.config.settings import Settings
from freehold.core.errors import ConfigError, GraphError, Incompatible

if TYPE_CHECKING:
    from freehold.graphs.registry import GraphRegistry
    from freehold.operate.doctor import Finding


def check(
    project: Annotated[
        Path | None, typer.Option("--project", help="A langgraph.json or its folder; default: the one in this folder.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="A freehold.toml.")] = None,
    environment: Annotated[str | None, typer.Option("--env", help="Lay freehold.NAME.toml over freehold.toml.", metavar="NAME")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check an agent project, the configuration, and whether the stack would start here."""
    env.set_process_defaults()
    env.choose_overlay(environment)
    loaded = load(config)
    chosen = project or loaded.settings.agents.config or (Path("langgraph.json") if Path("langgraph.json").is_file() else None)
    registry = asyncio.run(_load(chosen, loaded.settings))
    start = asyncio.run(_start(loaded.settings))
    report: dict[str, object] = {
        "configuration": str(loaded.file) if loaded.file else None,
        "project": str(chosen) if chosen else None,
        "graphs": sorted(registry.graphs),
        "failures": {graph_id: {"message": error.message, "hint": error.hint} for graph_id, error in registry.failures.items()},
        "findings": list(registry.findings),
        "start": [output.plain(finding) for finding in start],
    }
    output.emit(report, lambda: _human(report, registry, start), json=json)
    if registry.failures:
        raise GraphError(f"{', '.join(registry.failures)} cannot be loaded")
    if bad := [finding.check for finding in start if finding.level == "fail"]:
        raise Incompatible(f"the stack would not start: {', '.join(dict.fromkeys(bad))}")


async def _start(settings: Settings) -> list[Finding]:
    """What a start would meet; nothing while a stack of this folder runs natively, which holds its own ports."""
    from freehold.cli.containers import folder
    from freehold.config import paths
    from freehold.operate.checks import examine_start
    from freehold.targets.native import machine
    from freehold.targets.native.home import Home

    if settings.stack.target == "native" and Home(paths.home()).is_running():
        return []
    return await examine_start(settings, await asyncio.to_thread(machine.detect), folder())


async def _load(project: Path | None, settings: Settings) -> GraphRegistry:
    """The graphs, and beside them what else of the project's code a server imports: it would not start without."""
    from freehold.graphs.registry import load_project
    from freehold.graphs.store_index import own_embedder, store_semantic
    from freehold.server.project_app import load_app
    from freehold.server.project_auth import load_project_auth

    registry = await load_project(project, shipped=None)
    failures = dict(registry.failures)
    embedding = asyncio.to_thread(store_semantic, registry.project, own_embedder(settings.knowledge), wanted=settings.store.semantic)
    for key, loading in (
        ("http.app", asyncio.to_thread(load_app, registry.project)),
        ("auth.path", load_project_auth(registry.project)),
        ("store.index", embedding),
    ):
        try:
            await loading
        except (GraphError, ConfigError) as error:
            failures[key] = GraphError(error.message, hint=error.hint)
    return replace(registry, failures=failures)


def _human(report: dict[str, object], registry: GraphRegistry, start: list[Finding]) -> str:
    lines = [
        f"configuration  {report['configuration'] or 'defaults'}: good",
        f"project        {report['project'] or 'none: the shipped agent is served'}",
    ]
    lines += [f"  ok    {graph_id}  ({entry.source})" for graph_id, entry in registry.graphs.items()]
    for graph_id, error in registry.failures.items():
        lines += [f"  fail  {graph_id}: {error.message}"] + ([f"        hint: {error.hint}"] if error.hint else [])
    lines += [f"  note  {finding}" for finding in registry.findings]
    lines += ["start"] if start else []
    for found in start:
        lines += [f"  {found.level:<4}  {found.check}: {found.message}"] + ([f"        hint: {found.todo}"] if found.todo else [])
    return "\n".join(lines)
