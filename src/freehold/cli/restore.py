"""`freehold restore`: the databases of a backup in the place of those of this folder's stack."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from freehold.cli import output


async def restore(
    file: Annotated[Path, typer.Argument(help="A file that `freehold backup` wrote.")],
    keep: Annotated[bool, typer.Option("--keep", help="Keep the databases that are replaced, under other names.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    compose: Annotated[
        Path | None, typer.Option("--compose", help="A folder that `freehold render compose` wrote; default: the stack of this folder.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="A freehold.toml; default: the one in this folder.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Put a backup's databases in the place of those of this folder's stack; it stops meanwhile and starts again afterwards.

    Each is restored beside the old one first, and only a whole one takes its place.
    """
    import time

    from freehold.cli import containers
    from freehold.config import load, paths
    from freehold.core.errors import InvalidRequest
    from freehold.operate.backup import check, native
    from freehold.operate.backup import compose as in_containers
    from freehold.operate.backup import restore as put_back
    from freehold.targets.compose.told import told
    from freehold.targets.native.home import Home

    home, progress = Home(paths.home()), output.progress(json)
    folder = compose or (containers.folder() if containers.chosen() else None)
    found = await told(folder.absolute()) if folder else None
    server = in_containers.server(folder.absolute(), found) if folder and found else native.server(load.load(config), home)
    check(server, file.absolute(), progress)  # before anything stops
    if not yes:
        if not output.can_ask():
            raise InvalidRequest("restore replaces all data of this stack and nobody can be asked", hint="add --yes if that is meant")
        typer.confirm(f"Replace all threads, runs and documents in {folder or home.path} by those of {file}?", abort=True, err=True)
    kept = f"replaced_{int(time.time())}" if keep else None
    if folder and found:
        async with in_containers.alone(folder.absolute(), found, progress):
            manifest = await put_back(server, file.absolute(), progress, keep=kept)
            await in_containers.forget_streams(folder.absolute())
    else:
        async with native.alone(home, progress):
            manifest = await put_back(server, file.absolute(), progress, keep=kept)
            await native.forget_streams(home)
    names = [part.name for part in manifest.parts]
    data = {"file": str(file), "databases": names, "made": manifest.made, "version": manifest.version, "kept_as": kept}
    text = f"restored {', '.join(names)} as of {manifest.made:%Y-%m-%d %H:%M} UTC" + (
        f"; what was there is kept as …_{kept}" if kept else ""
    )
    output.emit(data, text, json=json)
