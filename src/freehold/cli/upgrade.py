"""`freehold upgrade`: another version for the stack of this folder, with a way back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from freehold.cli import output

#: The code of `Unhealthy`.
_TAKEN_BACK = 5


async def upgrade(
    to: Annotated[
        str | None, typer.Option("--to", help="A version, or a wheel; default: the one that is installed, where another one made the data.")
    ] = None,
    ask: Annotated[bool, typer.Option("--ask/--no-ask", help="Put a question to the agent before the new version counts as well.")] = True,
    config: Annotated[Path | None, typer.Option("--config", help="A freehold.toml; default: the one in this folder.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Bring the stack of this folder to another version; where that one is not well, the old one returns by itself, with all data.

    The stack stops meanwhile. An upgrade that was interrupted is finished, or taken back, by the next call.
    """
    from freehold.cli import containers
    from freehold.config import load, paths
    from freehold.core.errors import NotSupported
    from freehold.operate.upgrade import upgrade as change
    from freehold.targets.native.home import Home

    if containers.chosen():
        raise NotSupported(
            "a stack in containers is not upgraded by this command yet",
            hint="install the new Freehold, `freehold backup`, `freehold up --target compose`; if it is not well: the old one, then "
            "`freehold up --target compose` and `freehold restore`",
        )
    done = await change(load.load(config), Home(paths.home()), output.progress(json), to=to, ask=ask)
    if done.why is None:
        text = f"upgraded from {done.old} to {done.new}; the databases as they were before are in {done.backup}"
    else:
        text = f"not upgraded to {done.new or to}: {done.why}\nFreehold {done.old} is back, with all data" + (
            f"; {done.todo}" if done.todo else ""
        )
    output.emit(output.plain(done), text, json=json)
    if done.why:
        raise typer.Exit(_TAKEN_BACK)
