"""`freehold backup`: the databases of the stack of this folder as one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from freehold.cli import output


async def backup(
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write, or a folder for freehold-DATE-TIME.backup; default: this folder.")
    ] = None,
    keep: Annotated[int | None, typer.Option("--keep", min=1, help="Remove older backups of that folder, but for so many.")] = None,
    compose: Annotated[
        Path | None, typer.Option("--compose", help="A folder that `freehold render compose` wrote; default: the stack of this folder.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="A freehold.toml; default: the one in this folder.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write the databases of the stack into one file, while it runs.

    It holds every thread, run and document, unencrypted; no secrets and no settings: keep freehold.toml elsewhere too.
    """
    from freehold.cli import containers
    from freehold.config import load, paths
    from freehold.core.errors import InvalidRequest
    from freehold.operate import measures
    from freehold.operate.backup import backup as save
    from freehold.operate.backup import compose as in_containers
    from freehold.operate.backup import native
    from freehold.operate.backup.kept import forget, named
    from freehold.targets.compose.told import told
    from freehold.targets.native.home import Home

    if keep and out and not out.is_dir():
        raise InvalidRequest("--keep: goes with a folder in --out")
    path = named(out or Path())
    home, progress = Home(paths.home()), output.progress(json)
    if folder := compose or (containers.folder() if containers.chosen() else None):
        done = await save(in_containers.server(folder.absolute(), await told(folder.absolute())), path.absolute(), progress)
    elif (server := native.server(load.load(config), home)).only_schema or home.is_running():
        done = await save(server, path.absolute(), progress)
    else:
        async with native.alone(home, progress):
            done = await save(server, path.absolute(), progress)
    removed = forget(path.parent, keep) if keep else []
    measures.leave("backup", {"freehold_backup_timestamp_seconds": done.manifest.made.timestamp(), "freehold_backup_bytes": done.size})
    names = [part.name for part in done.manifest.parts]
    data = {"file": str(done.path), "bytes": done.size, "databases": names, "version": done.manifest.version, "made": done.manifest.made}
    data["removed"] = removed
    output.emit(data, f"{done.path}: {', '.join(names)}, {output.size(done.size)}", json=json)
