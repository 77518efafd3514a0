"""What differs from place to place: beside `freehold.toml` lies `freehold.production.toml`, which is laid over it key by key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from freehold.config import env
from freehold.core.errors import ConfigError

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,30}")


def find(base: Path | None, environ: Mapping[str, str] | None, cwd: Path) -> Path | None:
    """The overlay that `FREEHOLD_ENV` asks for, e.g. `freehold.production.toml` beside `freehold.toml`.

    Raises:
        ConfigError: it is not there, or its name cannot be one.
    """
    name = env.get("FREEHOLD_ENV", environ)
    if name is None:
        return None
    if not _NAME.fullmatch(name):
        raise ConfigError(f'FREEHOLD_ENV: expected lower-case letters, digits and hyphens such as "production", got "{name}"')
    usual = base or cwd / "freehold.toml"
    path = usual.with_name(f"{usual.stem}.{name}{usual.suffix}")
    if not path.is_file():
        raise ConfigError(f'no configuration file for the environment "{name}" at {path}', hint="write one, or leave --env out")
    return path


def laid_over(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of `over` replace those of `base`; sections are gone into, lists are replaced whole."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        result[key] = laid_over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result
