"""The queue: who gets a run, who may write for it, and what becomes of the runs of the dead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from langgraph.checkpoint.base import empty_checkpoint

from freehold.core.caller import Caller
from freehold.core.errors import Conflict, InvalidRequest, LeaseLost, NotFound
from freehold.core.ids import assistant_id
from freehold.core.run import Run, RunRequest
from freehold.storage import cancelling, queries
from freehold.storage import runs as runs_module
from freehold.storage.assistants import Assistants
from freehold.storage.checkpointer import create_checkpointer
from freehold.storage.pool import Pool, create_pool
from freehold.storage.runs import Claimant, Offer, Runs, Target
from freehold.storage.threads import Threads

ANNA, BOB = Caller("acme", "anna"), Caller("acme", "bob")
ASSISTANT = UUID(int=1)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with create_pool(database_url, max_size=20) as pool:
        yield pool


@pytest.fixture
def runs(pool: Pool) -> Runs:
    return Runs(pool)


@pytest.fixture
async def thread(pool: Pool) -> UUID:
    return (await Threads(pool).create(ANNA)).thread_id


async def accept(runs: Runs, thread: UUID | None = None, **options: object) -> Run:
    return (await runs.accept(ANNA, Target(ASSISTANT, "agent", thread), RunRequest(), **options)).run  # type: ignore[arg-type]


async def write_transactions(pool: Pool) -> int:
    """Number that rises by one with each transaction that wrote something."""
    async with pool.connection() as conn:
        row = await (await conn.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS number")).fetchone()
    assert row
    return int(row["number"])


async def expire(pool: Pool, run: Run) -> None:
    async with pool.connection() as conn:
        await conn.execute("UPDATE freehold.runs SET lease_until = now() - interval '1 second' WHERE run_id = %s", (run.run_id,))


async def test_what_was_accepted_comes_back_whole(runs: Runs, thread: UUID) -> None:
    request = RunRequest(input={"a": [1, None]}, stream_mode=("values", "custom"), interrupt_before="*", metadata={"from": "test"})
    accepted = (await runs.accept(ANNA, Target(ASSISTANT, "agent", thread), request)).run
    claimed = await runs.claim("w", 10)
    assert claimed is not None
    assert (claimed.run_id, claimed.metadata) == (accepted.run_id, {"from": "test"})
    assert claimed.request == replace(request, graph_id="agent")
    assert (claimed.status, claimed.epoch, claimed.attempt) == ("running", 1, 1)


async def test_many_workers_at_once_claim_each_run_exactly_once(runs: Runs) -> None:
    accepted = {(await accept(runs)).run_id for _ in range(30)}
    claimed: list[UUID] = []

    async def work(name: str) -> None:
        while run := await runs.claim(name, 10):
            claimed.append(run.run_id)

    await asyncio.gather(*(work(f"w{number}") for number in range(8)))
    assert sorted(claimed) == sorted(accepted)


async def test_a_claim_for_several_takes_the_oldest_run_of_each_thread_and_no_more_than_asked(runs: Runs, thread: UUID) -> None:
    first, _ = await accept(runs, thread), await accept(runs, thread)
    others = [await accept(runs) for _ in range(3)]
    claimed = await runs.claim_several(Claimant("w", 10), 3)
    assert [run.run_id for run in claimed] == [first.run_id, *(run.run_id for run in others[:2])]
    assert [run.run_id for run in await runs.claim_several(Claimant("w", 10), 3)] == [others[2].run_id]


async def test_many_workers_that_claim_several_at_once_get_each_run_exactly_once_in_the_order_of_its_thread(runs: Runs, pool: Pool) -> None:
    threads = [(await Threads(pool).create(ANNA)).thread_id for _ in range(4)]
    accepted = [(await accept(runs, threads[number % 4])).run_id for number in range(40)]
    claimed: list[Run] = []

    async def work(name: str) -> None:
        while len(claimed) < 40:
            for run in await runs.claim_several(Claimant(name, 10), 3):
                claimed.append(run)
                assert await runs.finish(run, "success", thread_status="idle", values=b"{}", interrupts={})

    await asyncio.gather(*(work(f"w{number}") for number in range(6)))
    for thread_id in threads:
        order = [run.run_id for run in claimed if run.thread_id == thread_id]
        assert order == [run_id for run_id in accepted if run_id in order]
    assert sorted(run.run_id for run in claimed) == sorted(accepted)


async def test_the_end_of_a_run_and_the_claim_of_the_next_are_one_transaction(runs: Runs, pool: Pool, thread: UUID) -> None:
    await accept(runs, thread)
    second = await accept(runs, thread)
    first = await runs.claim("w", 10)
    assert first
    before = await write_transactions(pool)
    won, following = await runs.finish_and_claim(
        first, "success", Claimant("w", 10), thread_status="idle", values=b'{"a": 1}', interrupts={}
    )
    assert await write_transactions(pool) == before + 1
    assert won and following and (following.run_id, following.status) == (second.run_id, "running")
    assert (await runs.get(ANNA, thread, first.run_id)).status == "success"
    assert (await Threads(pool).get(ANNA, thread)).status == "busy"


async def test_a_worker_that_lost_its_run_claims_another_all_the_same(runs: Runs, pool: Pool) -> None:
    await accept(runs)
    lost = await runs.claim("w1", 10)
    assert lost
    await expire(pool, lost)
    await runs.reap(3)
    won, following = await runs.finish_and_claim(lost, "success", Claimant("w1", 10), thread_status="idle", values=b"{}", interrupts={})
    assert not won
    assert following and (following.run_id, following.epoch) == (lost.run_id, 2)


async def test_a_claim_whose_answer_was_lost_is_given_back_and_not_counted(runs: Runs) -> None:
    for _ in range(2):
        await accept(runs)
    known, lost = await runs.claim_several(Claimant("w", 10), 2)
    await accept(runs)
    other = await runs.claim("w2", 10)
    assert other
    assert await runs.give_back_lost("w", [known.run_id], older_than=60) == []
    assert await runs.give_back_lost("w", [known.run_id], older_than=0) == [lost.run_id]
    again = await runs.claim("w", 10)
    assert again and (again.run_id, again.attempt, again.epoch) == (lost.run_id, 1, 2)


async def test_a_thread_never_has_two_running_however_many_workers_ask(runs: Runs, thread: UUID) -> None:
    order = [(await accept(runs, thread)).run_id for _ in range(5)]
    for expected in order:
        claims = [run for run in await asyncio.gather(*(runs.claim(f"w{n}", 10) for n in range(6))) if run]
        assert [run.run_id for run in claims] == [expected]
        await runs.finish(claims[0], "success", thread_status="idle", values=b"{}", interrupts={})


async def test_a_delayed_run_is_not_claimed_before_its_time(runs: Runs) -> None:
    await accept(runs, after_seconds=60)
    assert await runs.claim("w", 10) is None


async def test_a_delayed_run_does_not_hold_up_the_thread(runs: Runs, thread: UUID) -> None:
    await accept(runs, thread, after_seconds=3600)
    later = await accept(runs, thread)
    claimed = await runs.claim("w", 10)
    assert claimed and claimed.run_id == later.run_id


async def test_a_run_that_has_begun_is_not_overtaken_by_one_accepted_earlier_that_falls_due(runs: Runs, pool: Pool, thread: UUID) -> None:
    delayed = await accept(runs, thread, after_seconds=3600)
    begun = await accept(runs, thread)
    claimed = await runs.claim("w1", 10)
    assert claimed and claimed.run_id == begun.run_id
    await runs.release(claimed)
    async with pool.connection() as conn:
        await conn.execute("UPDATE freehold.runs SET available_at = now() WHERE run_id = %s", (delayed.run_id,))
    again = await runs.claim("w2", 10)
    assert again and (again.run_id, again.epoch) == (begun.run_id, 2)
    assert await runs.claim("w2", 10) is None
    await runs.finish(again, "success", thread_status="idle", values=b"{}", interrupts={})
    last = await runs.claim("w2", 10)
    assert last and last.run_id == delayed.run_id


async def test_a_run_that_has_begun_is_claimed_first_then_the_one_that_has_waited_longest(runs: Runs, pool: Pool) -> None:
    delayed, second, begun = await accept(runs, after_seconds=3600), await accept(runs), await accept(runs)
    async with pool.connection() as conn:
        await conn.execute("UPDATE freehold.runs SET epoch = 1 WHERE run_id = %s", (begun.run_id,))
        await conn.execute("UPDATE freehold.runs SET available_at = now() WHERE run_id = %s", (delayed.run_id,))
    claimed = [await runs.claim("w", 10) for _ in range(3)]
    assert [run and run.run_id for run in claimed] == [begun.run_id, second.run_id, delayed.run_id]


async def test_runs_that_may_not_start_are_not_looked_at_one_by_one(runs: Runs, pool: Pool, thread: UUID) -> None:
    await accept(runs, thread)
    assert await runs.claim("w", 10)
    copy = (
        "INSERT INTO freehold.runs (run_id, thread_id, assistant_id, organisation, owner, request, available_at)"
        " SELECT gen_random_uuid(), %s, assistant_id, organisation, owner, request, now() + %s::interval"
        " FROM freehold.runs, generate_series(1, 3000) WHERE status = 'running'"
    )
    async with pool.connection() as conn:
        await conn.execute(copy, (thread, "0 s"))
        await conn.execute(copy, ((await Threads(pool).create(ANNA)).thread_id, "1 h"))
    last = await accept(runs)
    async with pool.connection() as conn, conn.transaction(force_rollback=True):
        arguments = {"worker": "w", "lease_seconds": 10, "limit": 2}
        row = await (await conn.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + runs_module.SQL["claim"], arguments)).fetchone()
    assert row
    looks = {node["Alias"]: node for node in nodes(row["QUERY PLAN"][0]["Plan"]) if "Alias" in node}
    assert looks["candidate"]["Actual Rows"] + looks["candidate"]["Rows Removed by Filter"] == 3001  # the delayed ones are not among them
    assert looks["other"]["Actual Loops"] == 1
    claimed = await runs.claim("w", 10)
    assert claimed and claimed.run_id == last.run_id


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A query plan's nodes."""
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


async def test_runs_accepted_together_with_reject_let_exactly_one_through(runs: Runs, thread: UUID) -> None:
    results = await asyncio.gather(*(accept(runs, thread, strategy="reject") for _ in range(6)), return_exceptions=True)
    assert sum(isinstance(result, Run) for result in results) == 1
    assert sum(isinstance(result, Conflict) for result in results) == 5


async def test_interrupt_ends_what_waits_and_flags_what_runs(runs: Runs, thread: UUID) -> None:
    await accept(runs, thread)
    running = await runs.claim("w", 10)
    waiting = await accept(runs, thread)
    accepted = await runs.accept(ANNA, Target(ASSISTANT, "agent", thread), RunRequest(), strategy="interrupt")
    assert running and set(accepted.stopped) == {running.run_id, waiting.run_id}
    assert (await runs.get(ANNA, thread, waiting.run_id)).status == "interrupted"
    assert (await runs.get(ANNA, thread, running.run_id)).status == "running"


async def test_a_thread_is_made_once_when_many_ask_for_it(runs: Runs, pool: Pool) -> None:
    target = Target(ASSISTANT, "agent", uuid4(), create_thread=True)
    await asyncio.gather(*(runs.accept(ANNA, target, RunRequest()) for _ in range(5)))
    assert target.thread_id and len(await runs.list(ANNA, target.thread_id)) == 5
    with pytest.raises(NotFound):
        await runs.accept(BOB, target, RunRequest())


async def test_an_expired_lease_returns_the_run_and_its_holder_may_not_finish_it(runs: Runs, pool: Pool, thread: UUID) -> None:
    await accept(runs, thread)
    first = await runs.claim("w1", 10)
    assert first
    await expire(pool, first)
    assert await runs.reap(3) == ([first.run_id], [])
    second = await runs.claim("w2", 10)
    assert second and (second.epoch, second.attempt) == (2, 2)
    assert not await runs.finish(first, "success", thread_status="idle", values=b'{"by": "first"}', interrupts={})
    assert await runs.finish(second, "success", thread_status="idle", values=b'{"by": "second"}', interrupts={})
    assert (await Threads(pool).get(ANNA, thread)).values == {"by": "second"}


async def test_a_run_given_back_by_a_draining_worker_does_not_count_as_an_attempt(runs: Runs) -> None:
    await accept(runs)
    for epoch in range(1, 6):
        run = await runs.claim("w", 10)
        assert run and (run.epoch, run.attempt) == (epoch, 1)
        assert await runs.release(run)


async def test_a_run_whose_workers_died_three_times_ends_with_the_reason(runs: Runs, pool: Pool) -> None:
    accepted = await accept(runs)
    for _ in range(3):
        run = await runs.claim("host:1", 10)
        assert run
        await expire(pool, run)
        returned, given_up = await runs.reap(3)
    assert (returned, given_up) == ([], [accepted.run_id])
    progress = await runs.progress(accepted.run_id)
    assert progress and progress.status == "error"
    assert progress.error and "died 3 times (last: host:1)" in progress.error["message"]


async def test_a_run_that_was_to_be_stopped_when_its_last_worker_died_is_interrupted_and_no_error(
    runs: Runs, pool: Pool, thread: UUID
) -> None:
    accepted = await accept(runs, thread)
    run = await runs.claim("w", 10)
    assert run
    await runs.cancel(ANNA, thread, run.run_id, "interrupt")
    await expire(pool, run)
    assert await runs.reap(1) == ([], [accepted.run_id])
    assert (await runs.get(ANNA, thread, run.run_id)).status == "interrupted"
    assert (await Threads(pool).get(ANNA, thread)).status == "idle"


async def test_a_checkpoint_of_a_lost_claim_is_refused_and_leaves_nothing(runs: Runs, pool: Pool, thread: UUID) -> None:
    await accept(runs, thread)
    run = await runs.claim("w", 10)
    assert run
    config = {"configurable": {"thread_id": str(thread), "checkpoint_ns": ""}}
    stale, current = (create_checkpointer(pool, run_id=run.run_id, epoch=epoch) for epoch in (run.epoch - 1, run.epoch))
    with pytest.raises(LeaseLost):
        await stale.aput(config, empty_checkpoint(), {}, {})
    with pytest.raises(LeaseLost):
        await stale.aput_writes({"configurable": {**config["configurable"], "checkpoint_id": "c"}}, [("a", 1)], "t")
    assert await current.aget_tuple(config) is None
    await current.aput(config, empty_checkpoint(), {}, {})
    assert await current.aget_tuple(config) is not None


async def test_the_next_claim_waits_for_a_checkpoint_that_is_being_written(runs: Runs, pool: Pool) -> None:
    await accept(runs)
    run = await runs.claim("w1", 10)
    assert run
    async with pool.connection() as conn, conn.transaction():
        await conn.execute("SELECT freehold.fence(%s, %s)", (run.run_id, run.epoch))
        await expire(pool, run)  # renewing and expiring do not wait for the checkpoint
        assert await runs.reap(3) == ([run.run_id], [])
        assert await runs.claim("w2", 10) is None
    assert await runs.claim("w2", 10) is not None


async def test_rolling_back_removes_the_run_and_its_checkpoints_only(runs: Runs, pool: Pool, thread: UUID) -> None:
    saver = create_checkpointer(pool)
    config = {"configurable": {"thread_id": str(thread), "checkpoint_ns": ""}}
    await saver.aput(config, empty_checkpoint(), {"run_id": "earlier"}, {})
    await accept(runs, thread)
    run = await runs.claim("w", 10)
    assert run
    await saver.aput(config, empty_checkpoint(), {"run_id": str(run.run_id)}, {})
    assert not await runs.roll_back(run)  # nobody has asked
    await runs.cancel(ANNA, thread, run.run_id, "rollback")
    assert await runs.roll_back(run)
    assert [item.metadata["run_id"] async for item in saver.alist(config)] == ["earlier"]
    assert await runs.list(ANNA, thread) == []


async def test_threads_of_stateless_runs_go_some_time_after_their_end(runs: Runs, pool: Pool) -> None:
    run = (await runs.accept(ANNA, Target(ASSISTANT, "agent", temporary=True), RunRequest())).run
    assert await runs.reap_temporary(0) == 0
    claimed = await runs.claim("w", 10)
    assert claimed
    await runs.finish(claimed, "success", thread_status="idle", values=b"{}", interrupts={})
    assert await runs.reap_temporary(60) == 0
    assert await runs.reap_temporary(0) == 1
    with pytest.raises(NotFound):
        await Threads(pool).get(ANNA, run.thread_id)


async def test_a_thread_somebody_goes_on_with_is_not_temporary_any_more(runs: Runs, pool: Pool) -> None:
    first = (await runs.accept(ANNA, Target(ASSISTANT, "agent", temporary=True), RunRequest())).run
    claimed = await runs.claim("w", 10)
    assert claimed
    await runs.finish(claimed, "success", thread_status="idle", values=b"{}", interrupts={})
    await accept(runs, first.thread_id)
    assert await runs.reap_temporary(0) == 0


async def test_a_temporary_thread_goes_even_where_its_run_was_deleted(runs: Runs) -> None:
    run = (await runs.accept(ANNA, Target(ASSISTANT, "agent", temporary=True), RunRequest())).run
    await runs.cancel(ANNA, run.thread_id, run.run_id, "rollback")
    assert await runs.reap_temporary(0) == 1


async def test_a_locked_run_is_told_as_held_and_does_not_stop_the_renewal_of_others(runs: Runs, pool: Pool) -> None:
    held = [await accept(runs) for _ in range(2)]
    claimed = [await runs.claim("w", 10) for _ in held]
    arguments = {"lease_seconds": 100, "run_ids": [run.run_id for run in claimed if run], "epochs": [1, 1]}
    async with pool.connection() as locker, locker.transaction(), pool.connection() as conn:
        await locker.execute("SELECT FROM freehold.runs WHERE run_id = %s FOR UPDATE", (held[0].run_id,))
        rows = await (await conn.execute(queries.load("runs")["renew"], arguments)).fetchall()
        assert {row["run_id"] for row in rows} == {run.run_id for run in held}
        long = await (await conn.execute("SELECT run_id FROM freehold.runs WHERE lease_until > now() + interval '50 s'")).fetchall()
        assert [row["run_id"] for row in long] == [held[1].run_id]


async def test_an_active_run_cannot_be_deleted(runs: Runs, thread: UUID) -> None:
    run = await accept(runs, thread)
    with pytest.raises(Conflict, match="pending"):
        await runs.delete(ANNA, thread, run.run_id)


async def test_text_that_postgres_cannot_store_is_refused_with_the_reason(runs: Runs) -> None:
    with pytest.raises(InvalidRequest, match="NUL"):
        await runs.accept(ANNA, Target(ASSISTANT, "agent"), RunRequest(input={"a": "x\0y"}))


async def test_how_long_a_run_has_been_as_it_is_the_database_says(runs: Runs, pool: Pool, thread: UUID) -> None:
    run = await accept(runs, thread)
    async with pool.connection() as conn:
        await conn.execute("UPDATE freehold.runs SET updated_at = now() - interval '1 hour'")
    assert run.untouched_seconds == 0
    assert 3600 <= (await runs.get(ANNA, thread, run.run_id)).untouched_seconds < 3700


@pytest.mark.parametrize("given", [{}, {"graph_id": "made for"}])
async def test_a_thread_whose_only_runs_are_rolled_back_is_of_the_graph_it_was_made_for(
    runs: Runs, pool: Pool, given: dict[str, Any]
) -> None:
    thread = (await Threads(pool).create(ANNA, metadata={"kept": 1, **given})).thread_id
    accepted = [await accept(runs, thread) for _ in range(2)]
    claimed = await runs.claim("w", 10)
    assert claimed
    for run in accepted:
        await runs.cancel(ANNA, thread, run.run_id, "rollback")
    assert (await Threads(pool).get(ANNA, thread)).metadata["graph_id"] == "agent"
    assert await runs.roll_back(claimed)
    assert (await Threads(pool).get(ANNA, thread)).metadata == {"kept": 1, **given}


async def test_the_queue_tells_its_length_and_age(runs: Runs) -> None:
    assert (await runs.queue()).depth == 0
    await accept(runs)
    await accept(runs, after_seconds=60)
    await runs.claim("w", 10)
    await accept(runs)
    queue = await runs.queue()
    assert (queue.depth, queue.running, queue.active_threads) == (1, 1, 3)
    assert queue.checkpoint_bytes > 0
    assert queue.age_seconds >= 0


async def test_a_rollback_asked_for_in_the_moment_of_the_end_takes_the_run_back_all_the_same(runs: Runs, pool: Pool, thread: UUID) -> None:
    await accept(runs, thread)
    run = await runs.claim("w", 10)
    assert run
    await runs.cancel(ANNA, thread, run.run_id, "rollback")
    await runs.cancel(ANNA, thread, run.run_id, "interrupt")  # does not soften it
    assert not await runs.finish(run, "success", thread_status="idle", values=b'{"a": 1}', interrupts={})
    assert await runs.roll_back(run)
    now = await Threads(pool).get(ANNA, thread)
    assert (now.status, now.values, await runs.list(ANNA, thread)) == ("idle", None, [])


async def test_a_run_to_be_rolled_back_whose_workers_always_died_is_removed(runs: Runs, pool: Pool, thread: UUID) -> None:
    await accept(runs, thread)
    run = await runs.claim("w", 10)
    assert run
    await runs.cancel(ANNA, thread, run.run_id, "rollback")
    await expire(pool, run)
    assert await runs.reap(max_attempts=1) == ([], [run.run_id])
    assert await runs.list(ANNA, thread) == []


async def test_a_run_that_is_rolled_back_gives_the_thread_back_to_the_graph_before(runs: Runs, pool: Pool, thread: UUID) -> None:
    await Assistants(pool).sync({"one": None, "two": None})
    for graph in ("one", "two"):
        await runs.accept(ANNA, Target(assistant_id(graph), graph, thread), RunRequest())
    newest = (await runs.list(ANNA, thread))[0]
    await runs.cancel(ANNA, thread, newest.run_id, "rollback")
    now = await Threads(pool).get(ANNA, thread)
    assert now.metadata == {"graph_id": "one", "assistant_id": str(assistant_id("one"))}


async def test_a_run_of_an_older_version_names_no_graph_and_is_read_all_the_same(runs: Runs, pool: Pool, thread: UUID) -> None:
    await accept(runs, thread)
    async with pool.connection() as conn:
        await conn.execute("UPDATE freehold.runs SET request = request - 'graph_id' - 'strict_resume' || '{\"feedback_keys\": [\"k\"]}'")
    claimed = await runs.claim("w", 10)
    assert claimed is not None
    assert (claimed.request.graph_id, claimed.request.strict_resume) == (None, False)


# -- many at once --------------------------------------------------------------------------------------------------


async def test_runs_offered_together_are_accepted_together(runs: Runs) -> None:
    target = Target(ASSISTANT, "agent", temporary=True)
    accepted = await runs.accept_all(ANNA, [Offer(target, RunRequest(input=number), after_seconds=60 * number) for number in range(3)])
    assert [run.request.input for run in accepted] == [0, 1, 2]
    assert len({run.thread_id for run in accepted}) == 3
    assert (claimed := await runs.claim("w", 10)) is not None
    assert claimed.run_id == accepted[0].run_id  # the others begin later
    with pytest.raises(InvalidRequest):
        await runs.accept_all(ANNA, [Offer(target, RunRequest()), Offer(target, RunRequest(input="x\0y"))])
    assert (await runs.queue()).depth == 0


async def test_many_threads_are_stopped_some_at_a_time(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancelling, "THREADS_AT_ONCE", 2)
    mine = [await accept(runs) for _ in range(5)]
    theirs = (await runs.accept(BOB, Target(ASSISTANT, "agent"), RunRequest())).run
    held = await runs.claim("w", 10)
    assert held is not None
    assert await runs.cancel_many(ANNA, ("pending",), "interrupt") == (4, False)
    assert await runs.cancel_many(ANNA, ("pending", "running"), "rollback") == (1, True)
    assert await runs.cancel_many(ANNA, ("pending",), "interrupt") == (0, False)
    stands = await runs.progress_of([run.run_id for run in (*mine, theirs)])
    assert sorted(progress.status for progress in stands.values()) == ["interrupted"] * 4 + ["pending", "running"]
    assert stands[theirs.run_id].status == "pending"


async def test_a_run_that_was_given_back_is_asked_to_stop_by_the_next_worker(runs: Runs, thread: UUID) -> None:
    await accept(runs, thread)
    held = await runs.claim("w", 10)
    assert held is not None
    await runs.release(held)
    assert await runs.cancel_many(ANNA, ("pending",), "interrupt", of=(thread, [held.run_id])) == (1, True)
    again = await runs.claim("w", 10)
    assert again is not None
    assert again.cancel == "interrupt"


async def test_a_run_that_was_rolled_back_leaves_the_settings_its_thread_had(runs: Runs, pool: Pool, thread: UUID) -> None:
    async def asked(tone: str) -> Run:
        request = RunRequest(config={"configurable": {"tone": tone, "thread_id": "x"}})
        return (await runs.accept(ANNA, Target(ASSISTANT, "agent", thread), request)).run

    async def config() -> dict[str, Any]:
        return (await Threads(pool).get(ANNA, thread)).config

    assert await config() == {}
    only = await asked("loud")
    assert await config() == {"configurable": {"tone": "loud"}}
    await runs.cancel(ANNA, thread, only.run_id, "rollback")
    assert await config() == {}
    await asked("calm")
    last = await asked("loud")
    await runs.cancel_many(ANNA, ("pending",), "rollback", of=(thread, [last.run_id]))
    assert await config() == {"configurable": {"tone": "calm"}}
