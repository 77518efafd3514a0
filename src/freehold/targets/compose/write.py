"""Writes a rendered stack into a folder: what changed is replaced, what is gone is removed, secrets are made once and kept.

Containers see files by their inode and secrets by their owner, so unchanged files stay the same files, and the secrets
belong to the user as whom everything runs: root cannot be expected in a container, nor a file that everybody may read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from secrets import token_hex

from pydantic import SecretStr

from freehold.core.errors import ConfigError
from freehold.stack.plan import Stack
from freehold.targets.compose import render
from freehold.targets.native import secrets
from freehold.targets.native.files import write_private

#: Lies in every folder of ours. One without it, that has something in it, is somebody's own.
MARKER = ".freehold-compose"
_MARKER_TEXT = "Written by `freehold render compose`. Keep secrets/: without it the data cannot be opened.\n"

#: As whom everything runs where root writes the folder. Nobody of the host has this number.
USER = 10001


def owner() -> tuple[int, int]:
    """User and group of the secrets and of all containers."""
    return (USER, USER) if os.getuid() == 0 else (os.getuid(), os.getgid())


def claim(folder: Path) -> None:
    """Make a folder ours.

    Raises:
        ConfigError: it holds something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not (folder / MARKER).exists():
        raise ConfigError(f"{folder} holds something that is no Compose folder of ours", hint="name a new or empty folder with --out")
    _put(folder / MARKER, _MARKER_TEXT)
    _put(folder / ".gitignore", "# what must not be shared, and what is made anew\nsecrets/\nagent/\n")


def write(folder: Path, stack: Stack, project: render.Project, given: Mapping[str, SecretStr]) -> list[str]:
    """Write everything but the image definition.

    Args:
        given: values of the secrets that users gave.

    Returns:
        Names of the secrets that were made now.
    """
    claim(folder)
    files = render.render(stack, project)
    for name, text in files.items():
        path = folder / name
        for parent in reversed(path.relative_to(folder).parents[:-1]):
            _folder(folder / parent, 0o755)
        _put(path, text)
    _remove_stale(folder / "files", {folder / name for name in files})
    return _secrets(folder / "secrets", stack, render.secrets(stack, project), given, project.user)


def _secrets(folder: Path, stack: Stack, names: Iterable[str], given: Mapping[str, SecretStr], user: tuple[int, int]) -> list[str]:
    _folder(folder, 0o700)
    declared = {secret.name: secret for secret in stack.secrets}
    wanted = set(names)
    made = secrets.ensure(folder, [secret for name, secret in declared.items() if name in wanted and name not in given], {})
    for name in wanted & given.keys():
        write_private(folder / name, given[name].get_secret_value().rstrip("\n") + "\n")
    if user[0] != os.getuid():
        for name in wanted:
            os.chown(folder / name, *user, follow_symlinks=False)
    return made


def _folder(path: Path, mode: int) -> None:
    path.mkdir(exist_ok=True)
    path.chmod(mode)


def _put(path: Path, text: str) -> None:
    """Containers mount the file itself, so one that says the same stays; everybody may read it, whatever the umask."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    partial = path.with_name(f".{path.name}.{token_hex(4)}.new")
    partial.write_text(text, encoding="utf-8")
    partial.chmod(0o755 if path.suffix == ".sh" else 0o644)
    partial.replace(path)


def _remove_stale(folder: Path, kept: set[Path]) -> None:
    if not folder.is_dir():
        return
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in kept:
            path.unlink()
