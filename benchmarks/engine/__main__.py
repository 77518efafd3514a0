"""`python -m benchmarks engine`: runs through a server, ours and its peers', against the same graph in process."""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg
from benchmarks.engine.conversations import conversations
from benchmarks.engine.figures import HEADER, Figures, Sample, cpu_line, engine_rows, summarise, table
from benchmarks.engine.machine import described, fsyncs_per_second
from benchmarks.engine.measure import Bench, client, progress
from benchmarks.engine.systems import LeftOut, System, World, aegra, freehold, langgraph_dev

OURS = "freehold"


@dataclass(frozen=True)
class Row:
    """One line of the plan: what every system does, how often."""

    title: str
    kind: str
    concurrency: int
    count: int


ROWS = (
    Row("runs/wait, C=1", "wait", 1, 60),
    Row("runs/wait, C=16", "wait", 16, 240),
    Row("runs/wait, C=64", "wait", 64, 320),
    Row("runs/stream until the first state, C=1", "stream", 1, 40),
)


def main() -> int:
    arguments = _arguments()
    return asyncio.run(run(arguments))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks engine", description=__doc__)
    parser.add_argument("--json", type=Path, help="write every figure to this file too")
    parser.add_argument("--passes", type=int, help="how often every system is measured in every row, in turn (3; 1 with --quick)")
    parser.add_argument("--quick", action="store_true", help="a look of a minute: one pass, a third of the runs, no conversations")
    parser.add_argument("--only", action="append", help="systems by name, e.g. --only freehold --only 'langgraph dev'")
    parser.add_argument("--against", type=Path, help="a checkout of another version of Freehold, measured in the same run")
    return parser.parse_args()


async def run(arguments: argparse.Namespace) -> int:
    """Start everything, measure in turn, print."""
    passes = arguments.passes or (1 if arguments.quick else 3)
    with tempfile.TemporaryDirectory(prefix="fh-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        world = stack.enter_context(World(folder).running())
        systems = await start(world, stack, arguments.only, arguments.against)
        bench = stack.enter_context(opened(world, systems))
        print(f"machine: {described()}; {fsyncs_per_second(world.postgres.folder):.0f} fdatasync/s (one writer, before)")
        for system in systems:
            print(f"  {system.name}: {system.processes}")
        found = {row.title: measure(bench, systems, row, passes, 3 if arguments.quick else 1) for row in ROWS}
        checks = whole(world, systems)
        print(f"{fsyncs_per_second(world.postgres.folder):.0f} fdatasync/s (after); {checks}")
        talked: dict[str, Any] = {}
        if not arguments.quick and not arguments.only:
            talked = await conversations(world)
    if arguments.json:
        shown = {title: {name: asdict(figures) for name, figures in row.items()} for title, row in found.items()}
        arguments.json.write_text(json.dumps({"rows": shown, "conversations": talked}, indent=1))
    return 1 if any(figures.errors for row in found.values() for figures in row.values()) or "LOST" in checks else 0


async def start(world: World, stack: ExitStack, only: Sequence[str] | None, against: Path | None) -> list[System]:
    """Every system that can run here; why one cannot is printed."""
    ours, doubled, kept, bare = [await world.migrated(name) for name in ("freehold", "freehold_two", "freehold_guarded", "floor_ours")]
    before = await world.migrated_by(against, "freehold_before") if against else None
    floors = {
        "in process, our saver": System("in process, our saver", "1 process", (), (), bare.name, ("ours", bare.app_url)),
        "in process, stock saver": System(
            "in process, stock saver", "1 process", (), (), "floor_stock", ("stock", world.plain("floor_stock"))
        ),
    }
    makers: dict[str, Callable[[], AbstractContextManager[System]]] = {
        OURS: lambda: freehold(world, ours),
        "freehold 2+2": lambda: freehold(world, doubled, servers=2, workers=2),
        "freehold guarded": lambda: freehold(world, kept, guarded=True),
        **({"freehold before": lambda: freehold(world, before, checkout=against)} if before else {}),
        "langgraph dev": lambda: langgraph_dev(world),
        "aegra local": lambda: aegra(world, redis=False),
        "aegra redis": lambda: aegra(world, redis=True),
    }
    systems = [system for name, system in floors.items() if not only or name in only]
    for name, make in makers.items():
        if only and name not in only:
            continue
        progress(f"starting {name}")
        try:
            systems.append(stack.enter_context(make()))
        except LeftOut as why:
            print(f"left out: {name}: {why}")
    return systems


@contextmanager
def opened(world: World, systems: Sequence[System]) -> Iterator[Bench]:
    """A bench with one load client for all servers and one process for each floor."""
    with ExitStack() as stack:
        over_http = stack.enter_context(client())
        clients = {
            system.name: stack.enter_context(client("--in-process", *system.in_process)) if system.in_process else over_http
            for system in systems
        }
        yield Bench(world, stack.enter_context(world.admin()), clients)


def measure(bench: Bench, systems: Sequence[System], row: Row, passes: int, divisor: int) -> dict[str, Figures]:
    """All systems in turn, `passes` times, each time beginning with another one; prints the table."""
    count = max(row.concurrency, row.count // divisor)
    fsyncs = fsyncs_per_second(bench.world.postgres.folder)
    samples: dict[str, list[Sample]] = {system.name: [] for system in systems}
    for system in systems:
        bench.sample(system, row.kind, concurrency=row.concurrency, count=max(4, row.concurrency))  # connections, caches
    for number in range(passes):
        for place in range(len(systems)):
            system = systems[(place + number) % len(systems)]
            began = time.monotonic()
            samples[system.name].append(bench.sample(system, row.kind, concurrency=row.concurrency, count=count))
            progress(f"{row.title}: pass {number + 1}/{passes}, {system.name} ({time.monotonic() - began:.1f} s)")
    figures = {name: summarise(taken) for name, taken in samples.items()}
    print(
        f"\n{row.title}: {count} runs a pass, medians of {passes}; {fsyncs:.0f} fdatasync/s\n{table(HEADER, engine_rows(figures, OURS))}",
        flush=True,
    )
    for name, one in figures.items():
        if len(one.cpu_ms_of) > 2:
            print(cpu_line(name, one), flush=True)
    return figures


def whole(world: World, systems: Sequence[System]) -> str:
    """Whether in our databases each accepted run succeeded once, at the first attempt, and left the two messages it should."""
    told = []
    for system in systems:
        if not system.name.startswith(OURS) or not system.database:
            continue
        with psycopg.connect(world.postgres.url(system.database), options="-c search_path=freehold,public") as conn:
            runs = conn.execute("SELECT count(*), count(*) FILTER (WHERE status <> 'success' OR epoch <> 1) FROM runs").fetchone()
            threads = conn.execute(
                "SELECT count(*) FROM threads WHERE jsonb_array_length(\"values\"->'messages') IS DISTINCT FROM 2 "
                "AND thread_id IN (SELECT thread_id FROM runs)"
            ).fetchone()
        assert runs and threads
        wrong = runs[1] + threads[0]
        told.append(f"{system.name}: {runs[0]} runs, {f'{wrong} LOST OR DOUBLED' if wrong else 'none lost or doubled'}")
    return "; ".join(told)


if __name__ == "__main__":
    raise SystemExit(main())
