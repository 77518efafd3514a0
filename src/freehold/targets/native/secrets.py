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
from freehold.targets.native.process import Rendered

_REFERENCE = re.compile(r"\$\{secret:([a-z0-9_]+)\}")
_ROLE = re.compile(r"postgresql://(?P<role>[a-z_]+):\$\{secret:(?P<secret>[a-z0-9_]+)\}@")


def ensure(folder: Path, wanted: Iterable[Secret], given: Mapping[str, SecretStr]) -> list[str]:
    """Write the secrets that are missing and those that the user gave; return the names of the generated ones."""
    new = []
    for secret in wanted:
        path = folder / secret.name
        if secret.file:
            write_private(path, _given(secret.file))
        elif secret.source == "given":
            write_private(path, given[secret.name].get_secret_value() + "\n")
        elif not path.exists():
            write_private(path, secrets.token_urlsafe(32) + "\n")
            new.append(secret.name)
    return new


def _given(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotConfigured(f"{file} cannot be read: {error}", hint="freehold.toml names it") from error


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


def changed(folder: Path, name: str) -> float | None:
    """Unix time of the last change of a secret; None where it has no value yet."""
    try:
        return (folder / name).stat().st_mtime
    except FileNotFoundError:
        return None


def users(rendered: Rendered, folder: Path) -> Mapping[str, tuple[str, ...]]:
    """Processes that know each secret, in an order in which they can be started; not tasks, which are over.

    A process knows one by a reference in its environment, or by the path of its file.
    """
    found: dict[str, tuple[str, ...]] = {}
    for process in rendered.processes:
        if process.kind == "task":
            continue
        texts = (*process.env.values(), *process.argv, *(file.text for file in process.files))
        named = {match[1] for text in texts for match in _REFERENCE.finditer(text)}
        named |= {match[1] for text in texts for match in re.finditer(rf"{re.escape(str(folder))}/([a-z_]+)", text)}
        for name in named:
            found[name] = (*found.get(name, ()), process.name)
    return found


def roles(rendered: Rendered) -> Mapping[str, str]:
    """Roles of the stack's own Postgres, by the secret that is their password: what the migration gives them at each start."""
    migration = rendered.process("migrate")
    if migration is None or "FREEHOLD_PROVISION_DATABASE_URL" not in migration.env:
        return {}
    urls = [url for name, text in migration.env.items() if name.endswith(("DATABASE_URL", "DATABASE_URLS")) for url in text.split()]
    return {match["secret"]: match["role"] for url in urls if (match := _ROLE.match(url))}
