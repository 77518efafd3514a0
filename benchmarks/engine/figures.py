"""Numbers and tables of the engine's benchmarks: pure, so that what is printed can be tested without running anything."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Sample:
    """One measurement of one system: what the load client saw, and what the system's processes used meanwhile."""

    #: Seconds each operation took, as the client saw it.
    seconds_each: tuple[float, ...]
    #: Seconds from the first to the last.
    seconds: float
    #: CPU seconds of "server", "worker", "Postgres", "Valkey".
    cpu: Mapping[str, float] = field(default_factory=dict)
    #: CPU seconds of the load client.
    client_cpu: float = 0.0
    #: Statements, writing transactions and bytes of write-ahead log; 0 where a system has no database.
    statements: int = 0
    commits: int = 0
    wal_bytes: int = 0
    #: Answers that were not what they should be.
    errors: int = 0


@dataclass(frozen=True)
class Figures:
    """Medians over the passes of one system in one row of the table. Times in ms."""

    rate: float
    p50: float
    p95: float
    cpu_ms: float
    #: The same by part.
    cpu_ms_of: Mapping[str, float]
    client_cpu_ms: float
    #: Share of one core that the client used while measuring.
    client_share: float
    statements: float
    commits: float
    wal_kb: float
    errors: int
    passes: int


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all values do not exceed (nearest rank); of nothing: NaN."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def summarise(samples: Sequence[Sample]) -> Figures:
    """The median over the passes of each figure; errors are added up."""

    def median(of: Sequence[float]) -> float:
        return statistics.median(of)

    counts = [max(1, len(one.seconds_each)) for one in samples]
    pairs = list(zip(samples, counts, strict=True))
    return Figures(
        rate=median([count / one.seconds for one, count in pairs]),
        p50=median([percentile(one.seconds_each, 0.5) * 1000 for one in samples]),
        p95=median([percentile(one.seconds_each, 0.95) * 1000 for one in samples]),
        cpu_ms=median([sum(one.cpu.values()) / count * 1000 for one, count in pairs]),
        cpu_ms_of={part: median([one.cpu.get(part, 0.0) / count * 1000 for one, count in pairs]) for part in samples[0].cpu},
        client_cpu_ms=median([one.client_cpu / count * 1000 for one, count in pairs]),
        client_share=median([one.client_cpu / one.seconds for one in samples]),
        statements=median([one.statements / count for one, count in pairs]),
        commits=median([one.commits / count for one, count in pairs]),
        wal_kb=median([one.wal_bytes / count / 1024 for one, count in pairs]),
        errors=sum(one.errors for one in samples),
        passes=len(samples),
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, the first to the left, the others to the right."""
    widths = [max(len(row[place]) for row in (header, *rows)) for place in range(len(header))]
    lines = []
    for row in (header, ["-" * width for width in widths], *rows):
        first, *others = [
            cell.ljust(width) if place == 0 else cell.rjust(width) for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join([first, *others]).rstrip())
    return "\n".join(lines)


HEADER = (
    "system",
    "runs/s",
    "p50 ms",
    "p95 ms",
    "CPU ms/run",
    "client core",
    "queries/run",
    "commits/run",
    "WAL kB/run",
    "p50 to ours",
    "errors",
)


def engine_rows(figures: Mapping[str, Figures], ours: str) -> list[list[str]]:
    """One row a system; the ratio is its median time over that of `ours`."""
    base = figures[ours].p50 if ours in figures else math.nan
    return [
        [
            name,
            f"{one.rate:.0f}" if one.rate >= 20 else f"{one.rate:.1f}",
            f"{one.p50:.1f}",
            f"{one.p95:.1f}",
            f"{one.cpu_ms:.1f}",
            f"{one.client_share:.0%}",
            f"{one.statements:.1f}" if one.statements else "-",
            f"{one.commits:.1f}" if one.commits else "-",
            f"{one.wal_kb:.1f}" if one.wal_kb else "-",
            f"{one.p50 / base:.2f} x" if base > 0 else "-",
            str(one.errors),
        ]
        for name, one in figures.items()
    ]


def cpu_line(name: str, figures: Figures) -> str:
    """E.g. `freehold, CPU ms per run: server 3.1, worker 8.0, Postgres 4.2, Valkey 0.3`."""
    return f"{name}, CPU ms per run: {', '.join(f'{part} {spent:.1f}' for part, spent in figures.cpu_ms_of.items())}"
