"""One search for passages, counted exactly once: how long it took, whether it found something and how near that was."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from freehold.telemetry import metrics


@contextmanager
def counted_retrieval() -> Iterator[Callable[[Iterable[float]], None]]:
    """A search; call what it yields with the scores of what was found, best first. One that raises has failed."""
    started = time.perf_counter()
    best: float | None = None

    def found(scores: Iterable[float]) -> None:
        nonlocal best
        best = next(iter(scores), None)

    outcome = "failed"
    try:
        yield found
        outcome = "nothing" if best is None else "found"
    finally:
        metrics.RETRIEVALS.labels(outcome).inc()
        metrics.RETRIEVAL_DURATION.observe(time.perf_counter() - started)
        if best is not None:
            metrics.RETRIEVAL_SCORE.observe(best)
