"""The stack of a folder as units of systemd: what the machine, the settings and the wishes say of it, written for the target's renderer."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from freehold.config import paths
from freehold.config.load import Loaded
from freehold.core.age import parse_age
from freehold.core.errors import ConfigError, InvalidRequest
from freehold.stack.plan import Stack, plan
from freehold.stack.service import Service
from freehold.targets.compose import run as compose
from freehold.targets.native import machine
from freehold.targets.native.home import Home
from freehold.targets.native.programs import SYSTEM_FOLDER
from freehold.targets.systemd.render import Job, Place, render

#: Backups that a daily timer leaves beside the newest.
KEPT_BACKUPS = 7


@dataclass(frozen=True)
class Wanted:
    """What somebody asks for beside the stack itself."""

    user: bool = False
    run_as: str | None = None
    compose: Path | None = None
    backups: Path | None = None
    prune: str | None = None


def write(loaded: Loaded, wanted: Wanted, out: Path) -> list[str]:
    """Write the units into a folder; return their names.

    Raises:
        ConfigError: no such user, or the folder cannot be written.
        NotConfigured: there is no Compose stack in the folder named.
        InvalidRequest: an age or a combination makes no sense.
    """
    units = render(_place(loaded, wanted))
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in units.items():
            (out / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror}", hint="name a folder of yours with --out") from error
    return sorted(units)


def _place(loaded: Loaded, wanted: Wanted) -> Place:
    if wanted.user and wanted.run_as:
        raise InvalidRequest("--run-as: a user's own units run as that user", hint="leave out --user, or --run-as")
    if wanted.compose:
        compose.require(wanted.compose)
    stack = plan(loaded.settings, machine.detect(), version=version("freehold"))
    user = None if wanted.user else _user(wanted.run_as)
    home, cache = Home(paths.home()), paths.cache()
    if not wanted.compose and user in (None, _user(None)):  # what a unit may write to has to be there when it starts
        home.create()
        cache.mkdir(parents=True, exist_ok=True)
    return Place(
        name=stack.name if stack.name.startswith("freehold") else f"freehold-{stack.name}",
        command=command(),
        project=Path.cwd(),
        home=home.path,
        cache=cache,
        config=loaded.file.absolute() if loaded.file else None,
        user=user,
        system_folder=SYSTEM_FOLDER if user == "root" else None,
        stop_seconds=_stop_seconds(stack),
        low_ports=any(port.number < 1024 for service in stack.services for port in service.ports),
        gpus=bool(machine.detect().gpus),
        jobs=tuple(_jobs(loaded, wanted)),
        compose=wanted.compose.absolute() if wanted.compose else None,
    )


def command() -> tuple[str, ...]:
    """How this very installation is called, whatever is on the path."""
    program = Path(sys.executable).with_name("freehold")
    return (str(program),) if program.exists() else (sys.executable, "-P", "-m", "freehold")


def _user(name: str | None) -> str:
    try:
        return pwd.getpwnam(name).pw_name if name else pwd.getpwuid(os.getuid()).pw_name
    except KeyError as error:
        raise ConfigError(
            f"there is no user {name or os.getuid()}", hint=f"make it first: useradd --system --create-home {name or 'freehold'}"
        ) from error


def _jobs(loaded: Loaded, wanted: Wanted) -> Iterator[Job]:
    config = ("--config", str(loaded.file.absolute())) if loaded.file else ()
    if wanted.backups:
        where = ("--compose", str(wanted.compose.absolute())) if wanted.compose else config
        folder = wanted.backups.absolute()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        yield Job("backup", "a backup", ("backup", "--out", str(folder), "--keep", str(KEPT_BACKUPS), *where), writes=folder)
    if wanted.prune:
        try:
            parse_age(wanted.prune)
        except ValueError as error:
            raise InvalidRequest(f"--prune: {error}") from error
        if wanted.compose:
            raise InvalidRequest("--prune: containers prune by schedule themselves", hint="set [retention] in freehold.toml")
        yield Job("prune", "old checkpoints go", ("prune", "--older-than", wanted.prune, *config))
    edge = getattr(loaded.settings, "edge", None)
    if edge is not None and edge.tls == "acme" and not wanted.compose:
        yield Job(
            "certificate", "the certificate of the edge is renewed where it is due", ("certificate", "renew", *config), "*-*-* 00/12:00"
        )


def _stop_seconds(stack: Stack) -> float:
    """Orderly ends happen side by side, but each service waits for those that need it."""
    services = {service.name: service for service in stack.services}

    def chain(service: Service) -> float:
        return service.grace_seconds + max((chain(services[need]) for need in service.needs), default=0)

    return max(map(chain, stack.services), default=0)
