"""Finds or makes what a rendered stack refers to on this machine, so that `render` can stay pure."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from freehold.config import paths
from freehold.core.errors import OutOfSpace
from freehold.stack.plan import Stack
from freehold.targets.native import files, programs
from freehold.targets.native.home import Home
from freehold.targets.native.layout import Layout, Place
from freehold.targets.native.process import User

#: Free space under which a start is refused, and a new database too: Postgres preallocates its log.
SMALLEST_FREE_BYTES = 300 * 1024**2


def layout(
    stack: Stack,
    home: Home,
    *,
    project: Path,
    config: Path | None = None,
    prepared: Mapping[str, tuple[str, ...]] | None = None,
    models: Mapping[str, Path] | None = None,
) -> Layout:
    """Programs and folders of this stack on this machine.

    Args:
        project: working directory of the user's own code.
        config: the freehold.toml in use.
        prepared: start of the command line of each program that was fetched or built, by its abstract name.
        models: file or folder of the model that a service serves, by the service's name.

    Raises:
        Incompatible: a program is not there for this platform, or the service user cannot be made.
        ConfigError: a folder is there but is not ours.
    """
    found = {**programs.ours(), **(prepared or {})}
    users = [programs.own_user_name()] if stack.service("postgres") else []
    places = {}
    if stack.service("postgres"):
        if _is_root():
            user = programs.service_user()
            users.append(user.name)
            found.update(programs.postgres(programs.postgres_for_service_user()))
            places["postgres"] = _system_place(home, user)
            # PgBouncer does not run as root either; its socket lies beside that of the server.
            places["pooler"] = replace(places["postgres"], data=places["postgres"].data.with_name("pooler"))
        else:
            found.update(programs.postgres(programs.postgres_folder()))
    if stack.service("valkey"):
        found["valkey"] = programs.valkey()
    if "nginx" in found and _is_root():
        user = programs.service_user()
        found["nginx"] = (*found["nginx"], "-g", f"user {user.name};")
        if stack.service("edge"):
            programs.make_system_folder()
            files.make_folder(system_folder(home), user)
            places["edge"] = Place(edge_folder(home), paths.runtime(home.path))
    return Layout(
        home=home.path,
        runtime=paths.make_private(paths.runtime(home.path)),
        project=project,
        identity=paths.identity(home.path),
        programs=found,
        administrators=tuple(dict.fromkeys(users)),
        config=config.absolute() if config else None,
        models=models or {},
        places=places,
    )


def system_folder(home: Home) -> Path:
    """Where root keeps what the service user owns, for one stack."""
    return programs.SYSTEM_FOLDER / paths.identity(home.path)


def edge_folder(home: Home) -> Path:
    """What the edge reads beside its configuration: where the user that root lets it work as can read it."""
    return system_folder(home) / "edge" if _is_root() else home.path / "data" / "edge"


def check_space(folder: Path, needed: int = SMALLEST_FREE_BYTES) -> None:
    """Raises:
    OutOfSpace: less than `needed` bytes are free where `folder` lies.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OutOfSpace(
            f"{folder} has {free / 1024**2:.0f} MB free, and {needed / 1024**2:.0f} MB are needed",
            hint="make room, or set FREEHOLD_HOME (and FREEHOLD_CACHE for models) to a folder on another disk",
        )


def _is_root() -> bool:
    return os.getuid() == 0


def _system_place(home: Home, user: User) -> Place:
    folder = system_folder(home)
    files.make_folder(folder, user)
    check_space(folder)
    return Place(data=folder / "postgres", sockets=folder / "run", user=user)
