"""Where things live on disk: a stack's state, the user's cache, and the short private run-time folder for sockets."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from pathlib import Path

from freehold.config import env
from freehold.core.errors import ConfigError


def home() -> Path:
    """State of the stack of this folder: `FREEHOLD_HOME`, else `.freehold` in the working directory."""
    return Path(env.get("FREEHOLD_HOME") or ".freehold").expanduser().absolute()


def cache() -> Path:
    """Models and built engines, shared by all stacks of a user."""
    if chosen := env.get("FREEHOLD_CACHE"):
        return Path(chosen).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "freehold"
    return Path.home() / ".cache" / "freehold"


def identity(stack_home: Path) -> str:
    """Eight characters that tell one stack on this machine from another, e.g. `3f9a1c02`."""
    return hashlib.sha256(str(stack_home.resolve()).encode()).hexdigest()[:8]


def runtime(stack_home: Path) -> Path:
    """Folder for sockets: short, because a socket path has 107 bytes at most, and private (0700).

    The same from every shell of a user, whatever TMPDIR says there: `status` in one finds what `up` in another started.
    """
    return Path("/tmp") / f"freehold-{os.getuid()}-{identity(stack_home)}"  # noqa: S108 - made 0700 and checked by make_private


def is_private(folder: Path) -> bool:
    """Whether it is a real folder, no link, of this user, and nobody else may enter it."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def make_private(folder: Path) -> Path:
    """Create a folder that only this user can enter, or check that an existing one is ours and private.

    Raises:
        ConfigError: it exists but belongs to somebody else, is a link, or others may enter it.
    """
    try:
        folder.mkdir(mode=0o700, parents=False)
    except FileExistsError:
        if not is_private(folder):
            raise ConfigError(
                f"{folder} exists but is not a private folder of this user",
                hint="remove it if nothing of yours is in it, then try again",
            ) from None
    return folder
