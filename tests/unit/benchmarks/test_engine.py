"""The engine's benchmarks: their arithmetic, and that the smallest run of ours goes through and is counted."""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path

import pytest
from benchmarks.engine.checkpointer import MARKS, TEXT_BYTES, conversation, databases, rate_of
from benchmarks.engine.figures import HEADER, Sample, cpu_line, engine_rows, percentile, summarise, table
from benchmarks.engine.floor import saver
from benchmarks.engine.machine import fsyncs_per_second
from benchmarks.engine.measure import Bench, client
from benchmarks.engine.systems import System, World, freehold


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([3.0, 1.0, 2.0], 0.5, 2.0),
        ([1.0], 0.95, 1.0),
        (list(range(1, 101)), 0.95, 95),
        (list(range(1, 21)), 0.95, 19),
        ([1.0, 2.0], 0.0, 1.0),
    ],
)
def test_a_percentile_is_the_nearest_rank(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


def test_the_percentile_of_nothing_is_no_number() -> None:
    assert math.isnan(percentile([], 0.5))


def test_figures_are_medians_over_the_passes_and_errors_their_sum() -> None:
    passes = [
        Sample((0.010, 0.020), 1.0, {"server": 0.2, "Postgres": 0.1}, 0.5, statements=20, commits=4, wal_bytes=4096, errors=1),
        Sample((0.030, 0.040), 0.5, {"server": 0.4, "Postgres": 0.1}, 0.1, statements=40, commits=8, wal_bytes=8192, errors=1),
        Sample((0.050, 0.060), 2.0, {"server": 0.6, "Postgres": 0.1}, 0.2, statements=60, commits=12, wal_bytes=2048),
    ]
    found = summarise(passes)
    assert (found.rate, found.p50, found.p95) == (2.0, 30.0, 40.0)
    assert found.cpu_ms == pytest.approx(250)
    assert found.cpu_ms_of == pytest.approx({"server": 200, "Postgres": 50})
    assert (found.client_share, found.statements, found.commits, found.wal_kb) == (0.2, 20.0, 4.0, 2.0)
    assert (found.errors, found.passes) == (2, 3)


def test_a_table_lines_up_its_columns() -> None:
    assert table(("name", "ms"), [["a", "1.0"], ["longer", "100.0"]]) == "name       ms\n------  -----\na         1.0\nlonger  100.0"


def test_each_system_is_compared_with_ours() -> None:
    figures = {"freehold": summarise([Sample((0.01,), 1.0)]), "peer": summarise([Sample((0.03,), 1.0)])}
    ratio = HEADER.index("p50 to ours")
    assert [row[ratio] for row in engine_rows(figures, "freehold")] == ["1.00 x", "3.00 x"]


def test_without_ours_there_is_no_ratio() -> None:
    assert engine_rows({"peer": summarise([Sample((0.03,), 1.0)])}, "freehold")[0][HEADER.index("p50 to ours")] == "-"


def test_cpu_is_told_by_part() -> None:
    told = cpu_line("freehold", summarise([Sample((0.01,), 1.0, {"server": 0.001, "worker": 0.002})]))
    assert told == "freehold, CPU ms per run: server 1.0, worker 2.0"


def test_the_disk_is_measured(tmp_path: Path) -> None:
    assert fsyncs_per_second(tmp_path, seconds=0.02) > 0


@pytest.mark.slow
async def test_runs_of_ours_and_of_the_floor_are_counted(tmp_path: Path) -> None:
    with ExitStack() as stack:
        world = stack.enter_context(World(tmp_path).running())
        ours, bare = await world.migrated("freehold"), await world.migrated("bare")
        system = stack.enter_context(freehold(world, ours))
        floor = System("in process", "", database=bare.name, in_process=("ours", bare.app_url))
        clients = {
            system.name: stack.enter_context(client()),
            floor.name: stack.enter_context(client("--in-process", *floor.in_process)),
        }
        bench = Bench(world, stack.enter_context(world.admin()), clients)
        for one in (system, floor):
            for kind in ("wait", "stream"):
                found = bench.sample(one, kind, concurrency=2, count=4)
                assert (len(found.seconds_each), found.errors) == (4, 0)
                assert found.statements >= 4
                assert found.commits >= 4
                assert sum(found.cpu.values()) > 0


@pytest.mark.slow
async def test_both_savers_store_a_conversation_and_its_size_is_told(tmp_path: Path) -> None:
    with World(tmp_path).running() as world:
        async with databases(world) as urls:
            for kind, url in urls.items():
                async with saver(kind, url, pool_size=2) as one:
                    assert await rate_of(one, tasks=2, steps=2) > 0
                (mark,) = await conversation(kind, url, last=MARKS[0])
                assert mark.raw == 2 * TEXT_BYTES * MARKS[0]
                assert mark.stored > mark.raw
