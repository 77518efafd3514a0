"""`freehold backup`: the databases of the stack of this folder as one file."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from freehold.cli import output


async def backup(
    out: Annotated[Path | None, typer.Option("--out", help="File to write; default: freehold-DATE-TIME.backup in this folder.")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="A freehold.toml; default: the one in this folder.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write the databases of the stack into one file, while it runs.

    It holds every thread, run and document, unencrypted; no secrets and no settings: keep freehold.toml elsewhere too.
    """
    from freehold.config import load, paths
    from freehold.operate.backup import backup as save
    from freehold.operate.backup import native
    from freehold.targets.native.home import Home

    path = out or Path(f"freehold-{datetime.now().astimezone():%Y%m%d-%H%M%S}.backup")
    home, progress = Home(paths.home()), output.progress(json)
    server = native.server(load.load(config), home)
    if home.is_running() or server.only_schema:
        done = await save(server, path.absolute(), progress)
    else:
        async with native.alone(home, progress):
            done = await save(server, path.absolute(), progress)
    names = [part.name for part in done.manifest.parts]
    data = {"file": str(done.path), "bytes": done.size, "databases": names, "version": done.manifest.version, "made": done.manifest.made}
    output.emit(data, f"{done.path}: {', '.join(names)}, {output.size(done.size)}", json=json)
