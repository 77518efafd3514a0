"""Graph state and events as JSON: messages, pydantic models, dataclasses and what else users keep in their state."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import deque
from collections.abc import Mapping, Set
from decimal import Decimal
from pathlib import PurePath
from typing import Any

import orjson

_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_SERIALIZE_NUMPY

#: The escape of NUL preceded by an even number of backslashes, i.e. a real NUL and not the text `\\u0000`.
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


def to_json(value: Any) -> bytes:
    """JSON of any value a graph may hold. What JSON has no form for becomes its `repr`; NUL characters, which Postgres
    cannot store in JSON, are left out; NaN and infinities become null."""
    try:
        text = orjson.dumps(value, default=_plain, option=_OPTIONS)
    except TypeError:  # integers beyond 64 bits, which Python's own encoder writes exactly
        text = json.dumps(value, default=_plain, separators=(",", ":")).encode()
    return _NUL.sub(rb"\1", text) if rb"\u0000" in text else text


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump") and not isinstance(value, type):
        return value.model_dump()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.name[0] != "_"}
    if hasattr(value, "_asdict"):
        return value._asdict()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Set | deque | tuple):
        return list(value)
    if isinstance(value, Decimal | PurePath | complex):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, BaseException):
        return {"error": type(value).__name__, "message": str(value)}
    return repr(value)
