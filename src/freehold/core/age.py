"""Ages as people write them, e.g. `30d`."""

from __future__ import annotations

import re
from datetime import timedelta

_AGE = re.compile(r"(\d{1,5})([hdw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def parse_age(text: str) -> timedelta:
    """`"12h"`, `"30d"` and `"8w"` as time spans. Raises ValueError for anything else."""
    match = _AGE.fullmatch(text.strip())
    if not match:
        raise ValueError(f'expected an age such as "12h", "30d" or "8w", got "{text}"')
    return int(match[1]) * _UNITS[match[2]]
