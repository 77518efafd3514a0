"""What a first start has to fetch or build, as it is announced before anything is fetched."""

from __future__ import annotations

from dataclasses import dataclass

#: Connection assumed where a time is named, in bytes a second: 100 Mbit/s.
ASSUMED_RATE = 12_500_000


@dataclass(frozen=True)
class Need:
    """Something a first start has to fetch or build."""

    what: str
    #: Bytes to download; None where only the source can say.
    size: int | None
    #: About how long it takes; None where that is not known.
    seconds: float | None
