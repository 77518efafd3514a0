"""SQL by name: each `.sql` file holds queries headed `-- name: what it does`, loaded once."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import LiteralString, cast

_HEADING = re.compile(r"^-- ([a-z_]+): .*$", re.MULTILINE)


@cache
def load(noun: str) -> dict[str, LiteralString]:
    """Queries of `queries/<noun>.sql`, e.g. `load("runs")["claim"]`."""
    text = (files(__package__) / f"{noun}.sql").read_text(encoding="utf-8")
    parts = _HEADING.split(text)[1:]
    return {name: cast(LiteralString, body.strip()) for name, body in zip(parts[::2], parts[1::2], strict=True)}
