"""What programs of others are installed from: one file of exact, hashed requirements each, written by `python -m` this package.

`wanted.toml` says what each program is made of; the files beside it are what the index answered. They name no index, so that
everybody's own is asked, and its answers count only where their hashes are these.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_SIZE = re.compile(r"^# (\d+) bytes", re.MULTILINE)
_REQUIREMENT = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==", re.MULTILINE)


@dataclass(frozen=True)
class Lock:
    """The text of a lock, which pip reads as it is."""

    text: str

    @property
    def identity(self) -> str:
        """Twelve characters that change with the text, e.g. `9c1f0a77b2d4`."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]

    @property
    def size(self) -> int:
        """Bytes to download on Linux x86-64, as the index named them when the lock was written; about the same elsewhere."""
        found = _SIZE.search(self.text)
        return int(found[1]) if found else 0

    @property
    def projects(self) -> tuple[str, ...]:
        """Names of all packages, on whichever platform, in the order of the file."""
        return tuple(dict.fromkeys(_REQUIREMENT.findall(self.text)))


@cache
def read(name: str) -> Lock:
    """The lock of a name in versions.toml, e.g. "litellm.txt"."""
    return Lock((files(__name__) / name).read_text(encoding="utf-8"))
