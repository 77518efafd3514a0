"""`freehold reset`."""

from __future__ import annotations

from typing import Annotated

import typer

from freehold.cli import containers, output


async def reset(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Stop the stack and delete its data: threads, runs, documents, secrets, logs. Models in the cache are kept."""
    from freehold.config import paths
    from freehold.core.errors import InvalidRequest
    from freehold.targets.native import run
    from freehold.targets.native.home import Home

    home = Home(paths.home())
    if not home.path.exists():
        output.emit({"deleted": False, "home": str(home.path)}, f"there is nothing in {home.path}", json=json)
        return
    if not yes:
        if not output.can_ask():
            raise InvalidRequest("reset deletes all data of this stack and nobody can be asked", hint="add --yes if that is meant")
        typer.confirm(f"Delete all threads, runs, documents and secrets in {home.path}?", abort=True, err=True)
    if containers.chosen():
        await containers.reset(json=json)
    await run.stop(home, output.progress(json))
    run.delete(home)
    output.emit({"deleted": True, "home": str(home.path)}, f"deleted the data of the stack in {home.path}", json=json)
