"""Secrets as files of mode 0600, one per secret. Rendered files hold `${secret:name}`; values are read when a process starts."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import SecretStr

from freehold.core.errors import NotConfigured
from freehold.stack.service import Secret
from freehold.targets.native.files import write_private

_REFERENCE = re.compile(r"\$\{secret:([a-z_]+)\}")


def ensure(folder: Path, wanted: Iterable[Secret], given: Mapping[str, SecretStr]) -> list[str]:
    """Write the secrets that are missing and those that the user gave; return the names of the generated ones."""
    new = []
    for secret in wanted:
        path = folder / secret.name
        if secret.source == "given":
            write_private(path, given[secret.name].get_secret_value() + "\n")
        elif not path.exists():
            write_private(path, secrets.token_urlsafe(32) + "\n")
            new.append(secret.name)
    return new


def read(folder: Path, name: str) -> str:
    """The value of a secret.

    Raises:
        NotConfigured: there is no such file, or it is empty.
    """
    try:
        value = (folder / name).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        value = ""
    if not value:
        raise NotConfigured(f"the secret {folder / name} is missing", hint="`freehold down` and `freehold up` make a new one")
    return value


def resolve(folder: Path, env: Mapping[str, str]) -> dict[str, str]:
    """`{"A": "x${secret:key}"}` with the secrets filled in."""
    return {name: _REFERENCE.sub(lambda match: read(folder, match[1]), text) for name, text in env.items()}
