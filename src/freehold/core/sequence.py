"""Where an event stands in the life of its thread: one number that rises over all its runs, attempts, workers and servers.

    seq = microseconds at which the attempt was claimed, by the database's clock + number of the event within the attempt

Two attempts on one thread never overlap and a worker never writes an event a microsecond, so nobody has to count: the number
is known to whoever reads a run's log, on any server. It stays below 2^53, which is as far as JavaScript counts, until 2255.
Where the database's clock is set back between two runs of a thread, a client that rejoins in between may miss the later one.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from freehold.core.errors import InvalidRequest
from freehold.core.run import Run

#: What JavaScript can count to.
MOST = 2**53 - 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SHAPE = re.compile(r"([0-9]{1,16})(?:-([0-9]{1,16}))?")


def microseconds(moment: datetime) -> int:
    """Since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(seq: int) -> datetime:
    """When something with this number was told, or a little before."""
    return _EPOCH + timedelta(microseconds=min(seq, MOST))


def base(run: Run) -> int:
    """What the numbers of a run's present attempt are counted from.

    A claim that had to wait for the accepting transaction has the earlier clock of the two.
    """
    return microseconds(max(run.started_at or run.created_at, run.created_at))


def parse(text: str) -> tuple[int, int]:
    """`"1795288011048123"` -> (1795288011048123, 0); `"1795288011048123-17"` gives both numbers; `""`, `"-1"` and `"0"` are the start.

    Raises:
        InvalidRequest: any other text.
    """
    if text in {"", "-1"}:
        return 0, 0
    found = _SHAPE.fullmatch(text)
    if not found:
        raise InvalidRequest(f'Last-Event-ID: expected "-1" or an id this server sent, got {text[:40]!r}')
    return int(found[1]), int(found[2] or 0)
