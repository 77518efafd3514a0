"""Settings as the text of a freehold.toml: what is not a default, and nothing that is secret."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, SecretStr

from freehold.config.settings import Settings


def without_secrets(settings: Settings, *, leave_out: frozenset[str] = frozenset()) -> str:
    """TOML of the keys that differ from their defaults.

    Args:
        leave_out: dotted keys or sections that are not written, e.g. `{"stack", "agents.config"}`.
    """
    return "\n".join(_tables("", _kept(settings, leave_out))).strip() + "\n"


def _kept(section: BaseModel, leave_out: frozenset[str], prefix: str = "") -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, info in type(section).model_fields.items():
        value = getattr(section, name)
        if f"{prefix}{name}" in leave_out or isinstance(value, SecretStr) or value is None:
            continue
        if isinstance(value, BaseModel):
            if nested := _kept(value, leave_out, f"{prefix}{name}."):
                kept[name] = nested
        elif value != info.get_default(call_default_factory=True, validated_data={}):
            kept[name] = _plain(value)
    return kept


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return {name: _plain(getattr(value, name)) for name in type(value).model_fields if _is_told(getattr(value, name))}
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items() if _is_told(item)}
    if isinstance(value, (tuple, list, set, frozenset)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (bool, int, float)) else str(value)


def _is_told(value: object) -> bool:
    return value is not None and not isinstance(value, SecretStr)


def _tables(name: str, tree: Mapping[str, Any]) -> Iterator[str]:
    values = {key: value for key, value in tree.items() if not isinstance(value, dict)}
    if name and values:
        yield f"\n[{name}]"
    yield from (f"{_key(key)} = {_value(value)}" for key, value in values.items())
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _tables(f"{name}.{_key(key)}" if name else _key(key), value)


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else json.dumps(name)


def _value(value: Any) -> str:
    """JSON's texts, numbers and booleans are TOML's; only objects are written in another way."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return json.dumps(value).replace("\x7f", "\\u007f")
