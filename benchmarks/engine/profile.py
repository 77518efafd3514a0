"""`python -m benchmarks engine-profile FOLDER`: where a run's time goes: statements per run, and flame graphs of server and worker.

Needs py-spy (`pip install py-spy`), which samples a process from outside; 16 clients run `runs/wait` meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.engine.figures import table
from benchmarks.engine.measure import Bench, client
from benchmarks.engine.systems import World, freehold

SECONDS = 15


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks engine-profile", description=__doc__)
    parser.add_argument("folder", type=Path, help="where server.svg and worker.svg go")
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--format", choices=("flamegraph", "raw", "speedscope"), default="flamegraph")
    arguments = parser.parse_args()
    spy = shutil.which("py-spy") or shutil.which("py-spy", path=str(Path(sys.executable).parent))
    if spy is None:
        print("py-spy is not installed: pip install py-spy", file=sys.stderr)
        return 1
    return asyncio.run(profile(spy, arguments))


async def profile(spy: str, arguments: argparse.Namespace) -> int:
    """Record both processes while runs go through them."""
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fh-bench-") as name, ExitStack() as stack:
        Path(name).chmod(0o755)
        world = stack.enter_context(World(Path(name)).running())
        system = stack.enter_context(freehold(world, await world.migrated("freehold")))
        bench = Bench(world, stack.enter_context(world.admin()), {system.name: stack.enter_context(client())})
        bench.sample(system, "wait", concurrency=arguments.concurrency, count=64)
        ending = "svg" if arguments.format == "flamegraph" else "json" if arguments.format == "speedscope" else "txt"
        options = ["--duration", str(SECONDS), "--rate", "200", "--format", arguments.format]
        recording = [
            subprocess.Popen(
                [spy, "record", "--pid", str(pid), *options, "--output", str(arguments.folder / f"{role}.{ending}")],
                stdout=subprocess.DEVNULL,
            )
            for role, (pid,) in system.pids.items()
        ]
        before = statements(bench, system.database)
        runs = 0
        while any(one.poll() is None for one in recording):
            runs += len(bench.sample(system, "wait", concurrency=arguments.concurrency, count=128).seconds_each)
        print(f"{runs} runs while both processes were sampled; flame graphs in {arguments.folder}")
        print(per_run(before, statements(bench, system.database), runs))
    return max(one.returncode for one in recording)


def statements(bench: Bench, database: str | None) -> dict[str, tuple[int, float]]:
    """Statement -> how often it was executed, and ms the server worked at it, since the start."""
    rows = bench.admin.execute(
        "SELECT query, sum(calls)::bigint, sum(total_exec_time) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid "
        "WHERE datname = %s GROUP BY query",
        (database,),
    ).fetchall()
    return {query: (calls, spent) for query, calls, spent in rows}


def per_run(before: dict[str, tuple[int, float]], after: dict[str, tuple[int, float]], runs: int) -> str:
    """The statements that were executed once in twenty runs at least, most frequent first."""
    lines = []
    for query, (calls, spent) in after.items():
        calls_before, spent_before = before.get(query, (0, 0.0))
        share, each = (calls - calls_before) / runs, (spent - spent_before) / runs
        if share >= 0.05:
            lines.append([" ".join(query.split())[:90], f"{share:.2f}", f"{each:.3f}"])
    lines.sort(key=lambda line: -float(line[1]))
    return table(("statement", "per run", "ms per run"), lines)


if __name__ == "__main__":
    raise SystemExit(main())
