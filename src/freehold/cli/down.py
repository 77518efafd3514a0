"""`freehold down`."""

from __future__ import annotations

from typing import Annotated

import typer

from freehold.cli import containers, output


async def down(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Stop the stack of this folder in order; all data is kept."""
    from freehold.config import paths
    from freehold.targets.native import run
    from freehold.targets.native.home import Home

    if containers.chosen():
        return await containers.down(json=json)
    home = Home(paths.home())
    stopped = await run.stop(home, output.progress(json)) if home.path.exists() else []
    text = f"stopped: {', '.join(stopped)}; the data in {home.path} is kept" if stopped else "nothing was running"
    output.emit({"stopped": stopped, "home": str(home.path)}, text, json=json)
