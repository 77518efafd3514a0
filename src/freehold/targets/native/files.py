"""Making folders and files that are private to one user. What exists is checked, never changed: it may not be ours."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from secrets import token_hex

from freehold.core.errors import ConfigError
from freehold.targets.native.process import User


def make_folder(path: Path, user: User | None = None) -> None:
    """Create a folder of mode 0700 that belongs to `user` (None: to us), or check that an existing one belongs to them.

    Raises:
        ConfigError: it exists and is something else, or belongs to somebody else.
    """
    uid = user.uid if user else os.getuid()
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid:
            raise ConfigError(f"{path} exists but is not a folder of user id {uid}", hint="move it away, then try again") from None
        return
    if user:
        os.chown(path, user.uid, user.gid, follow_symlinks=False)


def write_private(path: Path, text: str, user: User | None = None) -> None:
    """Replace a file in one step with one of mode 0600, so a crash or a full disk leaves the old text or the new one."""
    partial = path.with_name(f".{path.name}.{token_hex(4)}.new")  # a name of its own: two writers must not share half a file
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(handle)
            if user:
                os.fchown(handle, user.uid, user.gid)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
