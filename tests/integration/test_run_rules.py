"""The rules of runs, threads and leases: Hypothesis plays clients, workers and the passing of time on a real database, and after
each step everything stored is compared with a model (`run_model.py`) and with what may never happen.

Leases and delays are far longer than a test; time passes where a rule moves what is stored into the past.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, ClassVar, TypeVar
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import empty_checkpoint
from psycopg.rows import dict_row
from tests.conftest import Database
from tests.integration.run_model import Model, ModelRun, ModelThread

from freehold.core.caller import Caller
from freehold.core.errors import Conflict, FreeholdError, LeaseLost, NotFound
from freehold.core.ids import assistant_id
from freehold.core.run import CancelAction, MultitaskStrategy, Run, RunRequest
from freehold.storage import queries, runs
from freehold.storage.assistants import Assistants
from freehold.storage.checkpointer import PostgresSaver, create_checkpointer
from freehold.storage.pool import SCHEMA, Pool, create_pool
from freehold.storage.runs import Claimant, Runs, Target
from freehold.storage.thread_search import ThreadFilter, ThreadSearch
from freehold.storage.threads import Threads

T = TypeVar("T")

#: Longer than any test.
LONG = 100_000.0

ALICE, BOB, ALICE_ELSEWHERE = Caller("here", "alice"), Caller("here", "bob"), Caller("elsewhere", "alice")

GRAPHS = ("one", "other")

TERMINAL = ("success", "error", "timeout", "interrupted")

callers = st.sampled_from((ALICE, BOB, ALICE_ELSEWHERE))
workers = st.sampled_from(("worker-1", "worker-2"))
graphs = st.sampled_from(GRAPHS)
strategies: st.SearchStrategy[MultitaskStrategy] = st.sampled_from(("enqueue", "enqueue", "enqueue", "reject", "interrupt", "rollback"))
actions: st.SearchStrategy[CancelAction] = st.sampled_from(("interrupt", "rollback"))
endings = st.sampled_from(
    (("success", "idle"), ("success", "interrupted"), ("error", "error"), ("timeout", "error"), ("interrupted", "idle"))
)
left_values = st.none() | st.integers(0, 9).map(lambda number: {"number": number})


class Site:
    """What every example uses: an event loop, connections, the statements under test."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._loop = asyncio.new_event_loop()
        self.do(self._open())

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    async def _open(self) -> None:
        self.pool: Pool = create_pool(self._database.app_url, max_size=2, name="run-rules")
        await self.pool.open()
        self.runs, self.threads = Runs(self.pool), Threads(self.pool)
        await Assistants(self.pool).sync(dict.fromkeys(GRAPHS))
        self._admin = await psycopg.AsyncConnection.connect(
            self._database.superuser_url, autocommit=True, row_factory=dict_row, options=f"-c search_path={SCHEMA},public"
        )

    def close(self) -> None:
        self.do(self._admin.close())
        self.do(self.pool.close())
        self._loop.close()

    def look(self, statement: str, *arguments: Any) -> list[dict[str, Any]]:
        """Past the statements under test."""

        async def read() -> list[dict[str, Any]]:
            return await (await self._admin.execute(statement.encode(), arguments)).fetchall()

        return self.do(read())

    def change(self, statement: str, *arguments: Any) -> None:
        self.do(self._admin.execute(statement.encode(), arguments))


class RunRules(RuleBasedStateMachine):
    """Clients of three owners, two workers, and time."""

    site: ClassVar[Site]

    threads = Bundle("threads")
    runs = Bundle("runs")
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.savers: dict[tuple[UUID, int], PostgresSaver] = {}
        self.ended: dict[UUID, dict[str, Any]] = {}
        self.epochs: dict[UUID, int] = {}

    @initialize(target=threads)
    def a_thread_is_all_there_is(self) -> UUID:
        self.site.change(
            "TRUNCATE threads, runs, thread_checkpoints, thread_writes, thread_messages, thread_blobs RESTART IDENTITY CASCADE"
        )
        return self.a_thread_is_created(ALICE)

    def answer(self, asked: Coroutine[Any, Any, T]) -> T | type[FreeholdError]:
        """What a call gives, or the kind of its refusal."""
        try:
            return self.site.do(asked)
        except FreeholdError as refusal:
            return type(refusal)

    # -- clients -------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.model.threads) < 3)
    @rule(target=threads, caller=callers)
    def a_thread_is_created(self, caller: Caller) -> UUID:
        thread = self.site.do(self.site.threads.create(caller))
        self.model.threads[thread.thread_id] = ModelThread(thread.thread_id, caller)
        return thread.thread_id

    @rule(target=runs, thread_id=threads, caller=callers, own=st.sampled_from((True, True, True, True, True, False)), graph=graphs,
          strategy=strategies, delayed=st.sampled_from((False, False, True)), create=st.booleans())  # fmt: skip
    def a_run_is_asked_for(
        self, thread_id: UUID, caller: Caller, own: bool, graph: str, strategy: MultitaskStrategy, delayed: bool, create: bool
    ) -> Any:
        known = self.model.threads.get(thread_id)
        caller = known.owner if own and known else caller
        target = Target(assistant_id(graph), graph, thread_id, create_thread=create)
        answer = self.answer(self.site.runs.accept(caller, target, RunRequest(), strategy=strategy, after_seconds=LONG if delayed else 0))
        if known is None and create:
            known = self.model.threads[thread_id] = ModelThread(thread_id, caller)
        expected = self.model.make_way(known, strategy) if known and known.owner == caller else NotFound
        if isinstance(answer, type) or isinstance(expected, type):
            assert answer == expected
            return multiple()
        assert known and list(answer.stopped) == expected
        self.model.accepted(ModelRun(answer.run.run_id, known, graph, delayed))
        return answer.run

    @precondition(lambda self: len(self.model.threads) < 4)
    @rule(targets=(runs,), caller=callers, graph=graphs, temporary=st.booleans())
    def a_run_without_a_thread_is_asked_for(self, caller: Caller, graph: str, temporary: bool) -> Run:
        target = Target(assistant_id(graph), graph, temporary=temporary)
        run = self.site.do(self.site.runs.accept(caller, target, RunRequest())).run
        thread = self.model.threads[run.thread_id] = ModelThread(run.thread_id, caller, temporary)
        self.model.runs.append(ModelRun(run.run_id, thread, graph))
        thread.graph = graph
        return run

    @rule(run=runs, action=actions)
    def a_run_is_cancelled(self, run: Run, action: CancelAction) -> None:
        answer = self.answer(self.site.runs.cancel(self._owner(run), run.thread_id, run.run_id, action))
        known = self.model.run(run.run_id)
        expected = self.model.cancel(known, action) if known else NotFound
        assert (answer if isinstance(answer, type) else answer.status) == expected

    @rule(run=runs)
    def a_run_is_deleted(self, run: Run) -> None:
        answer = self.answer(self.site.runs.delete(self._owner(run), run.thread_id, run.run_id))
        known = self.model.run(run.run_id)
        assert answer == (NotFound if known is None else Conflict if known.is_active else None)
        if known and not known.is_active:
            self.model.runs.remove(known)

    @rule(thread_id=threads, caller=callers)
    def a_thread_is_deleted_by_somebody(self, thread_id: UUID, caller: Caller) -> None:
        answer = self.answer(self.site.threads.delete(caller, thread_id))
        found = self.model.thread_for(caller, thread_id)
        assert answer == (NotFound if isinstance(found, type) else None)
        if not isinstance(found, type):
            self.model.delete_thread(found)

    @rule(thread_id=threads, caller=callers, values=st.integers(10, 19).map(lambda number: {"number": number}), paused=st.booleans())
    def a_state_is_changed_by_hand(self, thread_id: UUID, caller: Caller, values: dict[str, int], paused: bool) -> None:
        async def change() -> None:
            async with self.site.threads.hold(caller, thread_id) as held:
                await held.set_state(values=f'{{"number": {values["number"]}}}'.encode(), interrupts={}, paused=paused)

        answer = self.answer(change())
        thread = self.model.thread_for(caller, thread_id)
        if isinstance(thread, type):
            assert answer == NotFound
        elif self.model.status_of(thread) == "busy":
            assert answer == Conflict
        else:
            assert answer is None
            thread.values, thread.error, thread.at_rest = values, None, "interrupted" if paused else "idle"

    @rule(run=runs, action=actions, caller=callers)
    def a_stranger_sees_and_changes_nothing(self, run: Run, action: CancelAction, caller: Caller) -> None:
        """That nothing changed is seen by the comparison that follows each rule."""
        if caller == self._owner(run):
            return
        thread_id, run_id = run.thread_id, run.run_id
        target = Target(run.assistant_id, "one", thread_id, create_thread=True)
        asked: list[Callable[[], Coroutine[Any, Any, Any]]] = [
            lambda: self.site.runs.get(caller, thread_id, run_id),
            lambda: self.site.runs.cancel(caller, thread_id, run_id, action),
            lambda: self.site.runs.delete(caller, thread_id, run_id),
            lambda: self.site.threads.get(caller, thread_id),
            lambda: self.site.threads.patch(caller, thread_id, {"stranger": True}),
            lambda: self.site.threads.delete(caller, thread_id),
        ]
        if thread_id in self.model.threads:  # otherwise the thread would be the stranger's own
            asked.append(lambda: self.site.runs.accept(caller, target, RunRequest()))
            asked.append(lambda: self.site.runs.accept(caller, target, RunRequest(), strategy="rollback"))
        for ask in asked:
            assert self.answer(ask()) == NotFound
        assert self.site.do(self.site.runs.list(caller, thread_id)) == []
        assert self.site.do(ThreadSearch(self.site.pool).page(caller, ThreadFilter(ids=[thread_id]))).threads == []

    # -- workers -------------------------------------------------------------------------------------------------

    @rule(target=claims, worker=workers, limit=st.sampled_from((1, 1, 2, 3)))
    def a_worker_claims(self, worker: str, limit: int) -> Any:
        claimed = self.site.do(self.site.runs.claim_several(Claimant(worker, LONG), limit))
        return self._claimed(claimed, worker, limit)

    @rule(claim=claims)
    def a_lease_is_renewed(self, claim: Run) -> None:
        arguments = {"lease_seconds": LONG, "run_ids": [claim.run_id], "epochs": [claim.epoch]}

        async def renew() -> list[Any]:
            async with self.site.pool.connection() as conn:
                return await (await conn.execute(queries.load("runs")["renew"], arguments)).fetchall()

        told = [(row["run_id"], row["cancel"]) for row in self.site.do(renew())]
        run = self._held(claim)
        assert told == ([(run.run_id, run.cancel)] if run else [])
        if run:
            run.lease_over = False

    @rule(claim=claims)
    def a_step_is_stored(self, claim: Run) -> None:
        before, texts = self._next_step(claim)
        key = (claim.run_id, claim.epoch)
        stored = self.answer(self._store(self.savers.get(key) or self._saver(claim), claim, before, texts))
        run = self._held(claim)
        if run is None:
            assert stored == LeaseLost
        else:
            assert isinstance(stored, str)
            run.thread.checkpoints[stored] = (claim.run_id, texts)

    def _saver(self, claim: Run) -> PostgresSaver:
        """As a worker keeps it for as long as it has the run."""

        async def create() -> PostgresSaver:
            return create_checkpointer(self.site.pool, run_id=claim.run_id, epoch=claim.epoch)

        return self.savers.setdefault((claim.run_id, claim.epoch), self.site.do(create()))

    def _next_step(self, claim: Run) -> tuple[str | None, tuple[str, ...]]:
        """The checkpoint a step of the run follows, and the messages it has then."""
        thread = self.model.threads.get(claim.thread_id)
        if not thread or not thread.checkpoints:
            return None, ("message 0",)
        before = list(thread.checkpoints)[-1]
        return before, (*thread.checkpoints[before][1], f"message {len(thread.checkpoints)}")

    async def _store(self, saver: PostgresSaver, claim: Run, parent: str | None, texts: tuple[str, ...]) -> str:
        config: RunnableConfig = {
            "configurable": {"thread_id": str(claim.thread_id), "checkpoint_ns": "", **({"checkpoint_id": parent} if parent else {})},
            "metadata": {"run_id": str(claim.run_id)},
        }
        messages = [HumanMessage(text, id=text) for text in texts]
        checkpoint = {**empty_checkpoint(), "channel_values": {"messages": messages}}
        saved = await saver.aput(config, checkpoint, {"source": "loop", "step": len(texts), "parents": {}}, {"messages": len(texts)})  # type: ignore[arg-type]
        await saver.aput_writes(saved, [("messages", HumanMessage("next", id="next"))], "task")
        return str(saved["configurable"]["checkpoint_id"])

    @rule(claim=claims, ending=endings, values=left_values)
    def a_run_ends(self, claim: Run, ending: tuple[Any, Any], values: Any) -> None:
        won = self.site.do(self.site.runs.finish(claim, ending[0], **self._left(ending, values)))
        assert won == self._end(claim, ending, values)

    @rule(target=claims, claim=claims, ending=endings, values=left_values, worker=workers)
    def a_run_ends_and_its_place_is_filled(self, claim: Run, ending: tuple[Any, Any], values: Any, worker: str) -> Any:
        place = Claimant(worker, LONG)
        won, following = self.site.do(self.site.runs.finish_and_claim(claim, ending[0], place, **self._left(ending, values)))
        assert won == self._end(claim, ending, values)
        return self._claimed([following] if following else [], worker, 1)

    @rule(target=claims, claim=claims, ending=endings, values=left_values, worker=workers)
    def a_run_ends_with_its_last_step(self, claim: Run, ending: tuple[Any, Any], values: Any, worker: str) -> Any:
        """Both in one transaction, as quick runs do."""
        before, texts = self._next_step(claim)

        async def end() -> tuple[str, bool, Run | None]:
            saver = create_checkpointer(self.site.pool, run_id=claim.run_id, epoch=claim.epoch, deferred=True)
            stored = await self._store(saver, claim, before, texts)
            pending, place = await saver.pending(), Claimant(worker, LONG)
            won, following = await self.site.runs.finish_and_claim(claim, ending[0], place, **self._left(ending, values), pending=pending)
            saver.discard()
            return stored, won, following

        stored, won, following = self.site.do(end())
        run = self._held(claim)
        if run is None:
            assert (won, following) == (False, None)
            return multiple()
        run.thread.checkpoints[stored] = (claim.run_id, texts)
        assert won == self._end(claim, ending, values)
        return self._claimed([following] if following else [], worker, 1)

    @rule(claim=claims)
    def a_run_is_given_back(self, claim: Run) -> None:
        run = self._held(claim)
        assert self.site.do(self.site.runs.release(claim)) == (run is not None)
        if run:
            run.back_to_queue(counted=False)

    @rule(claim=claims)
    def a_run_is_postponed(self, claim: Run) -> None:
        run = self._held(claim)
        assert self.site.do(self.site.runs.postpone(claim, LONG)) == (run is not None)
        if run:
            run.back_to_queue(counted=False)
            run.delayed = True

    @rule(claim=claims)
    def a_run_is_rolled_back(self, claim: Run) -> None:
        run = self._held(claim)
        asked = run is not None and run.cancel == "rollback"
        assert self.site.do(self.site.runs.roll_back(claim)) == asked
        if run and asked:
            self.model.take_back(run)

    @rule(max_attempts=st.integers(1, 3))
    def runs_are_reaped(self, max_attempts: int) -> None:
        returned, given_up = self.site.do(self.site.runs.reap(max_attempts))
        expected = self.model.reap(max_attempts)
        assert (set(returned), set(given_up)) == (set(expected[0]), set(expected[1]))

    @rule(worker=workers, knows=st.booleans())
    def runs_whose_claim_was_not_answered_are_given_back(self, worker: str, knows: bool) -> None:
        held = [run for run in self.model.runs if run.status == "running" and run.worker == worker]
        known = [run.run_id for run in held[:1]] if knows else []
        expected = [run for run in held if run.claimed_long_ago and run.run_id not in known]
        given_back = self.site.do(self.site.runs.give_back_lost(worker, known, older_than=LONG))
        assert set(given_back) == {run.run_id for run in expected}
        for run in expected:
            run.back_to_queue(counted=False)

    @rule()
    def threads_of_stateless_runs_are_removed(self) -> None:
        expected = [thread for thread in self.model.threads.values() if thread.temporary and self.model.status_of(thread) != "busy"]
        assert self.site.do(self.site.runs.reap_temporary(0)) == len(expected)
        for thread in expected:
            self.model.delete_thread(thread)

    # -- time ----------------------------------------------------------------------------------------------------

    @rule(worker=workers)
    def a_worker_falls_silent_until_its_leases_are_over(self, worker: str) -> None:
        self.site.change("UPDATE runs SET lease_until = now() - interval '1 s' WHERE status = 'running' AND worker = %s", worker)
        for run in self.model.runs:
            run.lease_over |= run.status == "running" and run.worker == worker

    @rule(worker=workers)
    def claims_of_a_worker_lie_long_ago(self, worker: str) -> None:
        self.site.change(
            "UPDATE runs SET started_at = now() - make_interval(secs => %s) WHERE status = 'running' AND worker = %s", 2 * LONG, worker
        )
        for run in self.model.runs:
            run.claimed_long_ago |= run.status == "running" and run.worker == worker

    @rule(run=runs)
    def a_delay_passes(self, run: Run) -> None:
        self.site.change("UPDATE runs SET available_at = now() WHERE run_id = %s", run.run_id)
        if known := self.model.run(run.run_id):
            known.delayed = False

    # -- what must hold after each step --------------------------------------------------------------------------

    @invariant()
    def runs_are_as_the_model_has_them(self) -> None:
        stored = {
            row["run_id"]: (row["thread_id"], row["status"], row["epoch"], row["attempt"], row["cancel"], (row["error"] or {}).get("error"))
            for row in self.site.look("SELECT * FROM runs")
        }
        assert stored == {
            run.run_id: (run.thread.thread_id, run.status, run.epoch, run.attempt, run.cancel, run.error) for run in self.model.runs
        }

    @invariant()
    def threads_are_as_the_model_has_them(self) -> None:
        stored = {
            row["thread_id"]: (
                Caller(row["organisation"], row["owner"]),
                row["status"],
                row["values"],
                (row["error"] or {}).get("error"),
                row["temporary"],
                row["metadata"].get("graph_id"),
            )
            for row in self.site.look("SELECT * FROM threads")
        }
        assert stored == {
            thread.thread_id: (thread.owner, self.model.status_of(thread), thread.values, thread.error, thread.temporary, thread.graph)
            for thread in self.model.threads.values()
        }

    @invariant()
    def a_thread_has_the_checkpoints_of_its_runs_that_were_not_taken_back(self) -> None:
        rows = self.site.look("SELECT thread_id, checkpoint_id, metadata->>'run_id' AS run FROM thread_checkpoints")
        assert {(row["thread_id"], row["checkpoint_id"], row["run"]) for row in rows} == {
            (str(thread.thread_id), checkpoint, str(stored[0]))
            for thread in self.model.threads.values()
            for checkpoint, stored in thread.checkpoints.items()
        }
        left = self.site.look(
            "SELECT 1 FROM thread_writes w WHERE NOT EXISTS (SELECT FROM thread_checkpoints c"
            " WHERE (c.thread_id, c.checkpoint_id) = (w.thread_id, w.checkpoint_id))"
        )
        assert not left

    @invariant()
    def nothing_happened_that_never_may(self) -> None:
        """Rules that need no model."""
        assert not self.site.look("SELECT thread_id FROM runs WHERE status = 'running' GROUP BY thread_id HAVING count(*) > 1")
        assert not self.site.look(
            "SELECT thread_id FROM threads t WHERE (status = 'busy') <>"
            " EXISTS (SELECT FROM runs r WHERE r.thread_id = t.thread_id AND r.status IN ('pending', 'running'))"
        )
        rows = {row["run_id"]: row for row in self.site.look("SELECT run_id, status, epoch, attempt, error, updated_at FROM runs")}
        for run_id, row in rows.items():
            assert row["epoch"] >= self.epochs.get(run_id, 0)
            self.epochs[run_id] = row["epoch"]
            if row["status"] in TERMINAL:
                assert self.ended.setdefault(run_id, row) == row
            else:
                assert run_id not in self.ended

    def teardown(self) -> None:
        """What is still stored can be read, whatever was taken back beside it."""
        for thread in self.model.threads.values():
            found = self.site.do(self._messages(thread.thread_id))
            assert found == {name: list(texts) for name, (_, texts) in thread.checkpoints.items()}

    async def _messages(self, thread_id: UUID) -> dict[str, list[str]]:
        everything: RunnableConfig = {"configurable": {"thread_id": str(thread_id)}}
        return {
            item.checkpoint["id"]: [message.content for message in item.checkpoint["channel_values"]["messages"]]
            async for item in create_checkpointer(self.site.pool).alist(everything)
        }

    # -- between the rules and the model -------------------------------------------------------------------------

    def _owner(self, run: Run) -> Caller:
        return Caller(run.organisation, run.owner)

    def _held(self, claim: Run) -> ModelRun | None:
        run = self.model.run(claim.run_id)
        return run if run and run.held_with(claim.epoch) else None

    def _claimed(self, claimed: Any, worker: str, limit: int) -> Any:
        expected = self.model.claim(worker, limit)
        assert [(run.run_id, run.epoch, run.attempt, run.cancel) for run in claimed] == [
            (run.run_id, run.epoch, run.attempt, run.cancel) for run in expected
        ]
        return multiple(*claimed)

    def _left(self, ending: tuple[Any, Any], values: Any) -> dict[str, Any]:
        stored = f'{{"number": {values["number"]}}}'.encode() if values else None
        return {"thread_status": ending[1], "values": stored, "interrupts": {}, "error": self._error(ending)}

    def _error(self, ending: tuple[Any, Any]) -> dict[str, str] | None:
        return {"error": "Failed", "message": "as it was told to"} if ending[0] in {"error", "timeout"} else None

    def _end(self, claim: Run, ending: tuple[Any, Any], values: Any) -> bool:
        run = self._held(claim)
        if run is None or run.cancel == "rollback":
            return False
        self.model.finish(run, ending[0], ending[1], values, (self._error(ending) or {}).get("error"))
        return True


@pytest.fixture
def site(database: Database) -> Iterator[Site]:
    site = Site(database)
    yield site
    site.close()


def play(site: Site, *, examples: int, steps: int, **chosen: Any) -> None:
    class OnThisSite(RunRules):
        pass

    OnThisSite.site = site
    # How long a step takes depends on the machine; the checks of Hypothesis for that would make it matter.
    checks = list(HealthCheck)
    how = settings(max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=checks, database=None, **chosen)
    run_state_machine_as_test(OnThisSite, settings=how)


def test_runs_threads_and_leases_follow_their_rules(site: Site) -> None:
    play(site, examples=60, steps=50, derandomize=True)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_runs_threads_and_leases_follow_their_rules_in_many_random_orders(site: Site) -> None:
    play(site, examples=600, steps=80, print_blob=True)


BROKEN = {
    "finish": ("AND epoch = %(epoch)s AND", "AND"),
    "release": ("AND epoch = %(epoch)s AND", "AND"),
    "claim": ("other.queue_position) < (", "other.queue_position) > ("),
    "ask_to_stop": ("CASE WHEN cancel = 'rollback' THEN cancel ELSE %(action)s END", "%(action)s"),
    "reap": ("AND lease_until < now() ", ""),
    "get": ("AND (runs.owner = %(owner)s OR %(shared)s)", ""),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_a_statement_that_breaks_a_rule_is_found(site: Site, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right, wrong = BROKEN[name]
    assert right in runs.SQL[name]
    monkeypatch.setitem(runs.SQL, name, runs.SQL[name].replace(right, wrong))
    with pytest.raises((AssertionError, psycopg.Error)):
        play(site, examples=300, steps=50, derandomize=True, phases=[Phase.generate], report_multiple_bugs=False)
