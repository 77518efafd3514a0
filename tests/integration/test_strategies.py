"""What happens to runs that meet on a thread, are cancelled or taken back: a server, worker processes and the official SDK."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import ConflictError, NotFoundError
from tests.api.serving import serving

PROJECT = Path(__file__).parent / "project" / "langgraph.json"
AGENTS = {"config": PROJECT, "shipped": False}

CONFIG = f"""
[agents]
config = "{PROJECT}"
[worker]
lease_seconds = 2
drain_seconds = 2
"""


class Site:
    """A server without worker, its client, and worker processes of one test."""

    def __init__(self, database_url: str, valkey_url: str, folder: Path) -> None:
        self._database_url = database_url
        self._valkey_url = valkey_url
        self._folder = folder
        self._exit = AsyncExitStack()
        self._workers: list[asyncio.subprocess.Process] = []
        self.trace = folder / "trace"
        self.sdk: LangGraphClient

    async def __aenter__(self) -> Site:
        (self._folder / "freehold.toml").write_text(CONFIG)
        url = self._exit.enter_context(serving(self._database_url, self._valkey_url, worker=False, agents=AGENTS))
        self.sdk = await self._exit.enter_async_context(get_client(url=url, api_key=None))
        return self

    async def __aexit__(self, *_: object) -> None:
        for worker in self._workers:
            if worker.returncode is None:
                worker.kill()
                await worker.wait()
        await self._exit.aclose()

    async def start_worker(self) -> asyncio.subprocess.Process:
        environment = {**os.environ, "DATABASE_URL": self._database_url, "REDIS_URL": self._valkey_url}
        with (self._folder / "worker.log").open("ab") as log:
            worker = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "freehold", "worker", cwd=self._folder, env=environment, stdout=log, stderr=log
            )
        self._workers.append(worker)
        return worker

    async def new_thread(self) -> str:
        return str((await self.sdk.threads.create())["thread_id"])

    def input(self, seconds: float = 0, *steps: str) -> dict[str, Any]:
        return {"steps": list(steps), "seconds": seconds, "trace": str(self.trace)}

    async def start(self, thread_id: str, seconds: float = 60, **options: Any) -> str:
        """A run in the background."""
        return str((await self.sdk.runs.create(thread_id, "steps", input=self.input(seconds), **options))["run_id"])

    async def start_slow(self, thread_id: str, **options: Any) -> str:
        """The same, in the middle of its slow step, with the step before stored."""
        run_id = await self.start(thread_id, durability="sync", **options)
        async with asyncio.timeout(60):
            while not self.trace.exists() or not self.trace.read_text().rstrip().endswith(" slow"):
                await asyncio.sleep(0.02)
        return run_id

    async def start_turn(self, thread_id: str, seconds: float = 0, **options: Any) -> str:
        """A run of one step, which leaves the run's id in `steps`."""
        return str((await self.sdk.runs.create(thread_id, "turns", input=self.input(seconds), **options))["run_id"])

    async def until_idle(self, thread_id: str) -> list[str]:
        """Runs of the thread that are still known, in the order they were accepted, once all have ended."""
        async with asyncio.timeout(60):
            while (await self.sdk.threads.get(thread_id))["status"] == "busy":
                await asyncio.sleep(0.05)
        return [run["run_id"] for run in reversed(await self.sdk.runs.list(thread_id, limit=100))]

    async def until(self, thread_id: str, run_id: str, *statuses: str) -> None:
        async with asyncio.timeout(60):
            while (await self.sdk.runs.get(thread_id, run_id))["status"] not in statuses:
                await asyncio.sleep(0.02)

    async def until_gone(self, thread_id: str, run_id: str) -> None:
        async with asyncio.timeout(60):
            with pytest.raises(NotFoundError):
                await self.until(thread_id, run_id, "no such status")

    async def seen(self, thread_id: str) -> dict[str, Any]:
        """All that a client can see of a thread, but for when it was touched."""
        thread = dict(await self.sdk.threads.get(thread_id))
        history = await self.sdk.threads.get_history(thread_id, limit=100)
        return {
            **{key: thread[key] for key in ("status", "values", "interrupts", "error", "metadata", "state_updated_at")},
            "history": [(state["checkpoint"]["checkpoint_id"], state["values"], state["next"], state["tasks"]) for state in history],
            "runs": [(run["run_id"], run["status"]) for run in await self.sdk.runs.list(thread_id, limit=100)],
        }


@pytest.fixture
async def site(database_url: str, valkey_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with Site(database_url, valkey_url, tmp_path) as site:
        yield site


# -- rollback ------------------------------------------------------------------------------------------------------

#: How a thread may stand before the run that is taken back: (graph, options of the run that brought it there, its status).
BEFORE: dict[str, tuple[str, dict[str, Any], str]] = {
    "idle": ("turns", {}, "idle"),
    "failed": ("fails", {}, "error"),
    "asking": ("asks", {}, "interrupted"),
    "at a breakpoint": ("steps", {"interrupt_before": ["last"]}, "interrupted"),
}


@pytest.mark.parametrize("before", BEFORE)
async def test_a_rolled_back_run_leaves_the_thread_as_it_was(site: Site, before: str) -> None:
    await site.start_worker()
    thread_id = await site.new_thread()
    graph, options, status = BEFORE[before]
    await site.sdk.runs.wait(thread_id, graph, input=site.input(0, "kept"), raise_error=False, **options)
    was = await site.seen(thread_id)
    assert was["status"] == status
    run_id = await site.start_slow(thread_id)
    assert len((await site.seen(thread_id))["history"]) > len(was["history"])
    await site.sdk.runs.cancel(thread_id, run_id, wait=True, action="rollback")
    assert await site.seen(thread_id) == was


async def test_a_blank_thread_is_blank_again_after_a_rollback(site: Site) -> None:
    await site.start_worker()
    thread_id = await site.new_thread()
    run_id = await site.start_slow(thread_id)
    await site.sdk.runs.cancel(thread_id, run_id, wait=True, action="rollback")
    after = await site.seen(thread_id)
    assert (after["status"], after["values"], after["history"], after["runs"]) == ("idle", None, [], [])


async def test_a_run_whose_worker_was_killed_is_rolled_back_by_the_next(site: Site) -> None:
    worker = await site.start_worker()
    thread_id = await site.new_thread()
    await site.sdk.runs.wait(thread_id, "turns", input=site.input())
    was = await site.seen(thread_id)
    run_id = await site.start_slow(thread_id)
    worker.kill()
    await worker.wait()
    await site.sdk.runs.cancel(thread_id, run_id, action="rollback")
    await site.start_worker()
    await site.until_gone(thread_id, run_id)
    assert await site.seen(thread_id) == was


async def test_a_run_a_worker_gave_back_is_rolled_back_without_any_worker(site: Site) -> None:
    worker = await site.start_worker()
    thread_id = await site.new_thread()
    await site.sdk.runs.wait(thread_id, "turns", input=site.input())
    was = await site.seen(thread_id)
    run_id = await site.start_slow(thread_id)
    worker.terminate()
    await worker.wait()
    await site.until(thread_id, run_id, "pending")
    await site.sdk.runs.cancel(thread_id, run_id, wait=True, action="rollback")
    assert await site.seen(thread_id) == was


@pytest.mark.parametrize("after_seconds", [0, 3600], ids=["waiting", "delayed"])
async def test_a_run_that_has_not_begun_is_rolled_back_at_once(site: Site, after_seconds: int) -> None:
    thread_id = await site.new_thread()
    first = await site.start(thread_id)
    was = await site.seen(thread_id)
    second = str((await site.sdk.runs.create(thread_id, "turns", input=site.input(), after_seconds=after_seconds))["run_id"])
    await site.sdk.runs.cancel(thread_id, second, wait=True, action="rollback")
    assert await site.seen(thread_id) == was
    await site.sdk.runs.cancel(thread_id, first, wait=True, action="rollback")
    assert (await site.seen(thread_id))["status"] == "idle"


async def test_strategy_rollback_takes_back_all_active_runs_and_none_that_ended(site: Site) -> None:
    await site.start_worker()
    thread_id = await site.new_thread()
    kept = await site.sdk.runs.wait(thread_id, "steps", input=site.input(0, "kept"))
    was = await site.seen(thread_id)
    taken_back = [await site.start_slow(thread_id), await site.start(thread_id), await site.start(thread_id, after_seconds=3600)]
    after = await site.sdk.runs.wait(thread_id, "steps", input=site.input(0, "new"), multitask_strategy="rollback")
    assert after["steps"] == [*kept["steps"], "new", "first", "slow", "last"]  # type: ignore[call-overload]
    now = await site.seen(thread_id)
    assert now["runs"][1:] == was["runs"]
    assert now["history"][-len(was["history"]) :] == was["history"]
    assert {state["metadata"]["run_id"] for state in await site.sdk.threads.get_history(thread_id, limit=100)}.isdisjoint(taken_back)


# -- at the same instant -------------------------------------------------------------------------------------------


async def test_a_state_update_in_the_instant_of_a_run_is_refused_or_entirely_before_or_after_it(site: Site) -> None:
    await asyncio.gather(site.start_worker(), site.start_worker())
    threads = [await site.new_thread() for _ in range(20)]
    await asyncio.gather(*(site.sdk.runs.wait(thread_id, "turns", input=site.input()) for thread_id in threads))

    async def by_hand(thread_id: str) -> bool:
        try:
            await site.sdk.threads.update_state(thread_id, {"steps": ["hand"]}, as_node="turn")
        except ConflictError:
            return False
        return True

    async def at_once(thread_id: str) -> None:
        updated, *_ = await asyncio.gather(by_hand(thread_id), *(site.start_turn(thread_id) for _ in range(2)))
        runs = await site.until_idle(thread_id)
        seen = await site.sdk.threads.get_history(thread_id, limit=100)
        assert [state["parent_checkpoint"] for state in seen] == [state["checkpoint"] for state in seen[1:]] + [None]
        steps = seen[0]["values"]["steps"]  # type: ignore[call-overload]
        assert [step for step in steps if step != "hand"] == runs
        assert steps.count("hand") == updated

    await asyncio.gather(*(at_once(thread_id) for thread_id in threads))


async def all_at_once(site: Site, thread_id: str, seconds: float, strategies: list[Any]) -> tuple[list[str], int]:
    """One client for each strategy, all at once: ids of the runs that were accepted, and how many got a conflict."""
    answers = await asyncio.gather(
        *(site.start_turn(thread_id, seconds, multitask_strategy=strategy) for strategy in strategies), return_exceptions=True
    )
    refused = [answer for answer in answers if isinstance(answer, BaseException)]
    assert {type(answer) for answer in refused} <= {ConflictError}
    return [answer for answer in answers if isinstance(answer, str)], len(refused)


async def assert_one_after_the_other(site: Site, thread_id: str, known: list[str]) -> dict[str, str]:
    """What holds whatever met on a thread: never two runs at once, in order, nothing of those gone. Gives run -> status."""
    marks = [line.split()[1:] for line in site.trace.read_text().splitlines()]
    assert [mark[0] for mark in marks] == ["begin", "end"] * (len(marks) // 2)
    assert [run for _, run in marks[::2]] == [run for _, run in marks[1::2]]
    begun = [run for _, run in marks[::2] if run in known]
    assert begun == [run for run in known if run in begun]
    history = await site.sdk.threads.get_history(thread_id, limit=100)
    assert {state["metadata"]["run_id"] for state in history} <= set(known)
    statuses = {run["run_id"]: str(run["status"]) for run in await site.sdk.runs.list(thread_id, limit=100)}
    finished = [run for run in known if statuses[run] == "success"]
    assert history[0]["values"]["steps"] == finished  # type: ignore[call-overload]
    assert (await site.sdk.threads.get(thread_id))["values"]["steps"] == finished  # type: ignore[index]
    return statuses


@pytest.fixture
async def busy_site(site: Site) -> Site:
    """With two workers."""
    await asyncio.gather(site.start_worker(), site.start_worker())
    return site


async def test_of_twenty_runs_enqueued_at_once_each_is_executed_in_its_turn(busy_site: Site) -> None:
    thread_id = await busy_site.new_thread()
    accepted, refused = await all_at_once(busy_site, thread_id, 0.02, ["enqueue"] * 20)
    known = await busy_site.until_idle(thread_id)
    statuses = await assert_one_after_the_other(busy_site, thread_id, known)
    assert (sorted(known), refused, set(statuses.values())) == (sorted(accepted), 0, {"success"})


async def test_of_twenty_runs_with_strategy_reject_one_is_accepted(busy_site: Site) -> None:
    thread_id = await busy_site.new_thread()
    accepted, refused = await all_at_once(busy_site, thread_id, 60, ["reject"] * 20)
    assert (len(accepted), refused) == (1, 19)
    await busy_site.sdk.runs.cancel(thread_id, accepted[0], wait=True)
    assert await busy_site.until_idle(thread_id) == accepted


async def test_of_twenty_runs_with_strategy_interrupt_the_last_ends_and_none_is_lost(busy_site: Site) -> None:
    thread_id = await busy_site.new_thread()
    accepted, refused = await all_at_once(busy_site, thread_id, 0.3, ["interrupt"] * 20)
    known = await busy_site.until_idle(thread_id)
    statuses = await assert_one_after_the_other(busy_site, thread_id, known)
    assert (sorted(known), refused, statuses[known[-1]]) == (sorted(accepted), 0, "success")
    assert set(statuses.values()) <= {"success", "interrupted"}


async def test_of_twenty_runs_with_strategy_rollback_the_last_ends_and_those_before_leave_no_trace(busy_site: Site) -> None:
    thread_id = await busy_site.new_thread()
    kept = await busy_site.start_turn(thread_id)
    await busy_site.until_idle(thread_id)
    accepted, refused = await all_at_once(busy_site, thread_id, 0.3, ["rollback"] * 20)
    known = await busy_site.until_idle(thread_id)
    statuses = await assert_one_after_the_other(busy_site, thread_id, known)
    assert (len(accepted), refused, known[0], set(statuses.values())) == (20, 0, kept, {"success"})


@pytest.mark.parametrize("seconds", [0, 0.1])
async def test_of_runs_that_meet_with_all_strategies_at_once_each_has_its_way(busy_site: Site, seconds: float) -> None:
    thread_id = await busy_site.new_thread()
    for _ in range(3):
        await all_at_once(busy_site, thread_id, seconds, ["enqueue", "rollback", "interrupt", "reject", "enqueue"] * 4)
    known = await busy_site.until_idle(thread_id)
    statuses = await assert_one_after_the_other(busy_site, thread_id, known)
    assert known and set(statuses.values()) <= {"success", "interrupted"}


# -- cancel --------------------------------------------------------------------------------------------------------


async def cancel(site: Site, thread_id: str, run_id: str, **query: Any) -> int:
    """The status the server answers with."""
    response = await site.sdk.http.client.post(f"/threads/{thread_id}/runs/{run_id}/cancel", params=query)
    return int(response.status_code)


async def test_cancel_with_wait_answers_when_the_run_has_ended_and_a_second_time_is_a_conflict(site: Site) -> None:
    await site.start_worker()
    thread_id = await site.new_thread()
    run_id = await site.start_slow(thread_id)
    assert await cancel(site, thread_id, run_id, wait=True) == 204
    seen = await site.seen(thread_id)
    assert (seen["runs"], seen["status"], seen["values"]["steps"]) == ([(run_id, "interrupted")], "interrupted", ["first"])
    assert await cancel(site, thread_id, run_id, wait=True) == 409
    assert await cancel(site, thread_id, run_id, action="rollback") == 409


async def test_cancel_without_wait_answers_at_once_as_often_as_it_is_asked_for_and_rollback_wins(site: Site) -> None:
    worker = await site.start_worker()
    thread_id = await site.new_thread()
    run_id = await site.start_slow(thread_id)
    worker.kill()
    await worker.wait()
    assert await cancel(site, thread_id, run_id) == 202
    assert await cancel(site, thread_id, run_id, action="rollback") == 202
    assert await cancel(site, thread_id, run_id) == 202
    await site.start_worker()
    await site.until_gone(thread_id, run_id)
    assert await cancel(site, thread_id, run_id) == 404


@pytest.mark.parametrize("after_seconds", [0, 3600], ids=["waiting", "delayed"])
async def test_a_run_that_has_not_begun_is_cancelled_without_any_worker(site: Site, after_seconds: int) -> None:
    thread_id = await site.new_thread()
    run_id = await site.start(thread_id, after_seconds=after_seconds)
    assert await cancel(site, thread_id, run_id, wait=True) == 204
    seen = await site.seen(thread_id)
    assert (seen["runs"], seen["status"], seen["values"]) == ([(run_id, "interrupted")], "idle", None)


async def test_a_cancelled_run_a_worker_gave_back_is_ended_by_the_next_which_executes_nothing(site: Site) -> None:
    worker = await site.start_worker()
    thread_id = await site.new_thread()
    run_id = await site.start_slow(thread_id)
    worker.terminate()
    await worker.wait()
    await site.until(thread_id, run_id, "pending")
    executed = site.trace.read_text()
    assert await cancel(site, thread_id, run_id) == 202
    await site.start_worker()
    await site.until(thread_id, run_id, "interrupted")
    seen = await site.seen(thread_id)
    assert (site.trace.read_text(), seen["status"], seen["values"]["steps"]) == (executed, "interrupted", ["first"])


async def test_a_node_that_raises_when_it_is_stopped_has_been_interrupted_all_the_same(site: Site) -> None:
    await site.start_worker()
    thread_id = await site.new_thread()
    run_id = str((await site.sdk.runs.create(thread_id, "sulks", input=site.input()))["run_id"])
    async with asyncio.timeout(60):
        while not site.trace.exists():
            await asyncio.sleep(0.02)
    assert await cancel(site, thread_id, run_id, wait=True) == 204
    assert (await site.sdk.runs.get(thread_id, run_id))["status"] == "interrupted"


@pytest.mark.parametrize("action", ["interrupt", "rollback"])
async def test_a_cancellation_in_the_instant_of_the_end_is_a_conflict_or_has_its_way(busy_site: Site, action: str) -> None:
    async def at_once(pause: float) -> None:
        thread_id = await busy_site.new_thread()
        run_id = await busy_site.start_turn(thread_id, 0.05)
        await asyncio.sleep(pause)
        answer = await cancel(busy_site, thread_id, run_id, action=action, wait=True)
        seen = await busy_site.seen(thread_id)
        if answer == 409:
            assert (seen["runs"], seen["values"]["steps"]) == ([(run_id, "success")], [run_id])
        elif action == "rollback":
            assert (answer, seen["status"], seen["values"], seen["history"], seen["runs"]) == (204, "idle", None, [], [])
        else:  # too late to stop it, it may still end well
            assert (answer, seen["runs"][0][1] in {"success", "interrupted"}) == (204, True)
        assert seen["status"] != "busy"

    for round_of in range(3):
        await asyncio.gather(*(at_once(0.02 * number + 0.005 * round_of) for number in range(10)))


# -- clients that leave, threads that go ---------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["wait", "stream"])
async def test_a_client_that_leaves_stops_its_run_without_a_thread_where_it_said_so(site: Site, way: str) -> None:
    await site.start_worker()
    body = {"assistant_id": "steps", "input": site.input(60), "on_completion": "keep", "on_disconnect": "cancel"}
    async with site.sdk.http.client.stream("POST", f"/runs/{way}", json=body) as response:
        thread_id, run_id = response.headers["content-location"].split("/")[2::2]
        await site.until(thread_id, run_id, "running")
    await site.until(thread_id, run_id, "interrupted")


async def test_the_thread_of_a_run_without_one_is_kept_or_gone_as_asked_and_can_be_joined_meanwhile(site: Site) -> None:
    await site.start_worker()
    runs = [
        await site.sdk.runs.create(None, "turns", input=site.input(), on_completion=on_completion) for on_completion in ("keep", "delete")
    ]
    for run in runs:
        assert (await site.sdk.runs.join(run["thread_id"], run["run_id"]))["steps"] == [run["run_id"]]  # type: ignore[call-overload]
    assert [thread["thread_id"] for thread in await site.sdk.threads.search()] == [runs[0]["thread_id"]]
