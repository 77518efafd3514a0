"""`freehold secrets`: what secrets the stack of this folder has, and other values for them while it runs. Values are never shown."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli import output
from freehold.core.errors import InvalidRequest

if TYPE_CHECKING:
    from freehold.config.load import Loaded
    from freehold.operate.rotate.site import Held, Site

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Compose = Annotated[
    Path | None, typer.Option("--compose", help="A folder that `freehold render compose` wrote; default: the stack of this folder.")
]
Config = Annotated[Path | None, typer.Option("--config", help="A freehold.toml; default: the one in this folder.")]


@app.command("list")
def list_secrets(config: Config = None, compose: Compose = None, json: AsJson = False) -> None:
    """Names, what they are for, how old they are and who knows them; never their values."""
    import asyncio

    found = asyncio.run(_site(config, compose, timedelta()).held())
    output.emit([output.plain(secret) for secret in found], lambda: _table(found), json=json)


@app.command()
def rotate(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Names from `freehold secrets list`.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every secret that Freehold made.")] = False,
    grace: Annotated[
        str, typer.Option(metavar="AGE", help='How long the first API key goes on working beside the new one; "0h": not at all.')
    ] = "24h",
    config: Config = None,
    compose: Compose = None,
    json: AsJson = False,
) -> None:
    """Give secrets other values while the stack runs.

    Each process that knows one is restarted, one after another; what is not well with the new value gets the old one back. Runs go on.
    """
    import asyncio

    from freehold.core.age import parse_age

    if bool(names) == all_:
        raise InvalidRequest("name the secrets to change, or say --all", hint="`freehold secrets list` shows them")
    try:
        overlap = parse_age(grace)
    except ValueError as error:
        raise InvalidRequest(f"--grace: {error}") from error
    done = asyncio.run(_rotate(_site(config, compose, overlap), names or [], json=json))
    lines = [f"{one['name']}: changed{_restarted(one['restarted'])}" for one in done]
    output.emit(done, "\n".join(lines), json=json)


async def _rotate(site: Site, names: list[str], *, json: bool) -> list[dict[str, object]]:
    from freehold.operate.rotate import can_change
    from freehold.operate.rotate import rotate as change

    chosen = names or [secret.name for secret in await site.held() if can_change(secret)]
    done = await change(site, chosen, output.progress(json))
    return [{"name": one.name, "restarted": list(one.restarted)} for one in done]


def _site(config: Path | None, compose: Path | None, grace: timedelta) -> Site:
    from freehold.cli import containers
    from freehold.config import load, paths
    from freehold.operate.rotate.native import NativeSite
    from freehold.targets.native.home import Home

    loaded = load.load(config)
    if folder := compose or (containers.folder() if containers.chosen() else None):
        return _compose_site(loaded, folder)
    return NativeSite(loaded, Home(paths.home()), grace=grace)


def _compose_site(loaded: Loaded, folder: Path) -> Site:
    from importlib.metadata import version

    from freehold.operate.containers import for_containers
    from freehold.operate.rotate.compose import ComposeSite
    from freehold.stack.plan import plan
    from freehold.targets.native import machine

    return ComposeSite(folder.absolute(), plan(for_containers(loaded.settings), machine.detect(), version=version("freehold")).secrets)


def _restarted(names: object) -> str:
    return f"; restarted {', '.join(names)}" if isinstance(names, list) and names else ""


def _table(found: Sequence[Held]) -> str:
    rows = [(secret.name, secret.source, _age(secret.changed), ", ".join(secret.users) or "-", secret.about) for secret in found]
    return output.table(rows, ("NAME", "FROM", "AGE", "KNOWN TO", "ABOUT"))


def _age(changed: float | None) -> str:
    if changed is None:
        return "-"
    seconds = max(0, time.time() - changed)
    return f"{seconds / 86400:.0f} d" if seconds >= 2 * 86400 else output.duration(seconds)
