"""Names and passwords for `edge.auth = "basic"`, in the form that nginx reads.

Passwords are made here, never chosen: 160 bits by chance. A hash that takes long to compute would protect weak passwords, of which
there are none, and cost its time in nginx with every single request; so the quick one that nginx has built in is used, salted.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from pathlib import Path

from freehold.core.errors import InvalidRequest, NotFound


def change(file: Path, name: str, *, remove: bool = False) -> str | None:
    """Give a name a new password, or take it out. Returns the password, or None.

    Raises:
        InvalidRequest: no line can begin with such a name.
        NotFound: there is no such name to take out.
    """
    if not name or not name.isprintable() or ":" in name or name.startswith("#"):
        raise InvalidRequest("NAME: expected a name without a colon")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    others = [line for line in lines if line.partition(":")[0] != name]
    if remove and len(others) == len(lines):
        raise NotFound(f"{file} has no {name}")
    password = None if remove else secrets.token_urlsafe(20)
    _write(file, [*others, *([f"{name}:{hashed(password)}"] if password else [])])
    return password


def hashed(password: str, salt: bytes | None = None) -> str:
    """`{SSHA}` and, in base64, SHA-1 of password and salt, then the salt."""
    salt = secrets.token_bytes(16) if salt is None else salt
    digest = hashlib.sha1(password.encode() + salt).digest()  # noqa: S324 - the one salted hash nginx has everywhere; the password is strong
    return "{SSHA}" + base64.b64encode(digest + salt).decode()


def _write(file: Path, lines: list[str]) -> None:
    partial = file.with_name(f".{file.name}.{secrets.token_hex(4)}.new")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as written:
        written.write("".join(f"{line}\n" for line in lines))
    partial.replace(file)
