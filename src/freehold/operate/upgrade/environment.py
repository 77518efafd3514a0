"""Another version in the place of an environment of Python, and back: a copy beside it gets the version, then both change names at once.

A copy of links costs no room. What pip installs, it writes anew, so the files of the original never change.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from freehold.core.errors import ConfigError, DownloadError, Incompatible
from freehold.operate.build import tools

#: Tells the copy with the new version from the original, wherever each lies; holds the id of the upgrade.
_MARK = ".freehold-upgrade"
_EXCHANGE = 2  # RENAME_EXCHANGE, RENAME_SWAP of macOS
_AT_FDCWD = -100


def advice(version: str) -> str | None:
    """The command that brings another version where some tool keeps this environment; None where we may change it ourselves."""
    prefix = Path(sys.prefix)
    if _is_editable():
        return "git pull && make setup"
    if (prefix / "uv-receipt.toml").exists():
        return f"uv tool install freehold=={version}"
    if (prefix / "pipx_metadata.json").exists():
        return f"pipx install --force freehold=={version}"
    if (prefix / "conda-meta").exists() or sys.prefix == sys.base_prefix:
        return f"{sys.executable} -m pip install freehold=={version}"
    if not os.access(prefix.parent, os.W_OK):
        return f"sudo {sys.executable} -m pip install freehold=={version}"
    return None


def _is_editable() -> bool:
    try:
        origin = json.loads(distribution("freehold").read_text("direct_url.json") or "{}")
    except PackageNotFoundError:
        return True
    return bool(origin.get("dir_info", {}).get("editable"))


def beside(environment: Path) -> Path:
    """Where the new one is made."""
    return environment.with_name(f"{environment.name}.next")


def previous(environment: Path) -> Path:
    """Where the old one lies from the switch on, until the next upgrade."""
    return environment.with_name(f"{environment.name}.previous")


async def prepare(environment: Path, requirement: str, identity: str) -> str:
    """Make a copy beside an environment, with another version in it; returns that version.

    Args:
        requirement: what pip installs: `freehold==0.2.0`, or a wheel.

    Raises:
        DownloadError: it cannot be installed.
        Incompatible: it does not start.
    """
    new = beside(environment)
    forget(environment)
    shutil.copytree(environment, new, symlinks=True, copy_function=os.link)
    (new / _MARK).write_text(identity, encoding="utf-8")
    python = str(new / "bin" / "python")
    own_pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--no-input"]
    has_pip = any(new.glob("lib/python*/site-packages/pip"))
    command = own_pip if has_pip else [*tools.uv(), "pip", "install", "--quiet", "--python", python]
    await tools.run([*command, requirement], f"{requirement} cannot be installed")
    _move_scripts(new, environment)
    return await version_in(new)


def _move_scripts(new: Path, final: Path) -> None:
    """Programs name their Python by its path, which is another one after the switch."""
    for path in (new / "bin").iterdir():
        if path.is_symlink() or not path.is_file():
            continue
        text = path.read_bytes()
        if text.startswith(b"#!" + os.fsencode(new) + b"/"):
            partial = path.with_name(f".{path.name}.new")  # never in place: the original may have the same file
            partial.write_bytes(text.replace(os.fsencode(new) + b"/", os.fsencode(final) + b"/", 1))
            partial.chmod(path.stat().st_mode & 0o777)
            partial.replace(path)


async def version_in(environment: Path) -> str:
    """Version of Freehold in an environment. Raises Incompatible where it does not start."""
    try:
        told = await tools.run([*command_in(environment), "version", "--json"], f"the Freehold in {environment} does not start")
        return str(json.loads(told)["version"])
    except (DownloadError, ValueError, KeyError) as error:
        raise Incompatible(f"the new version does not start: {error}") from error


def command_in(environment: Path) -> list[str]:
    """How the Freehold of an environment is called."""
    return [str(environment / "bin" / "python"), "-P", "-m", "freehold"]


def is_new(environment: Path, identity: str) -> bool:
    """Whether this is the copy that an upgrade made."""
    try:
        return (environment / _MARK).read_text(encoding="utf-8") == identity
    except OSError:
        return False


def old(environment: Path, identity: str) -> Path:
    """Where the original lies now."""
    if not is_new(environment, identity):
        return environment
    return previous(environment) if previous(environment).exists() else beside(environment)


def switch(environment: Path, identity: str) -> None:
    """Put the copy in the place of the original, which stays beside it; nothing happens where that was done."""
    if not is_new(environment, identity):
        exchange(environment, beside(environment))
    if beside(environment).exists():
        beside(environment).rename(previous(environment))


def switch_back(environment: Path, identity: str) -> None:
    """Put the original back into its place; nothing happens where it is there."""
    if is_new(environment, identity):
        exchange(environment, old(environment, identity))


def forget(environment: Path, *, but: str | None = None) -> None:
    """Remove what lies beside; `but`: only copies that this upgrade made."""
    for folder in (beside(environment), previous(environment)):
        if folder.exists() and (but is None or is_new(folder, but)):
            shutil.rmtree(folder)


def settle(environment: Path) -> None:
    """The new one is the environment from now on; the next upgrade copies it."""
    (environment / _MARK).unlink(missing_ok=True)


def exchange(first: Path, second: Path) -> None:
    """Let two folders change names in one step of the kernel; where it cannot, in three.

    Raises:
        ConfigError: it is not allowed.
    """
    try:
        if not _exchange(os.fsencode(first), os.fsencode(second)):
            aside = first.with_name(f"{first.name}.aside")
            first.rename(aside)
            second.rename(first)
            aside.rename(second)
    except OSError as error:
        raise ConfigError(f"{first} and {second} cannot change names: {error.strerror}") from error


def _exchange(first: bytes, second: bytes) -> bool:
    library = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "darwin":
        code = library.renamex_np(first, second, _EXCHANGE)
    elif hasattr(library, "renameat2"):
        code = library.renameat2(_AT_FDCWD, first, _AT_FDCWD, second, _EXCHANGE)
    else:
        return False
    return bool(code == 0)


def release(text: str) -> tuple[int, ...]:
    """The numbers of a version: `"1.2.0rc1"` → `(1, 2, 0)`."""
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()
