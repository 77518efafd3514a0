"""What a run costs the database: statements and commits are counted, so that neither creeps up unnoticed.

Time is not measured here (benchmarks/engine does): a count is the same on every machine.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from tests.api.serving import serving
from tests.conftest import Database
from tests.support.servers import PostgresServer

from freehold.worker import main

PROJECT = Path(__file__).parent / "project" / "langgraph.json"

#: `LOG:  execute _pg3_4: SELECT ...` for a prepared statement, `execute <unnamed>: ...` for one that is not, `statement: ...` for a text.
_LOGGED = re.compile(r"LOG:  (?:execute (?P<name>\S+)|statement): (?P<text>.*(?:\n\t.*)*)")

RUNS = 10


class Counted:
    """The statements a database was sent, read from the server's log."""

    def __init__(self, server: PostgresServer, superuser_url: str) -> None:
        self._server = server
        self._admin = psycopg.connect(superuser_url, autocommit=True)
        self.begin()

    def begin(self) -> None:
        self._read = len(self._server.log)
        self._commits = self._writing_commits()

    def statements(self) -> list[tuple[str | None, str]]:
        """(name, None where it was not prepared; text) of each since `begin`."""
        found = _LOGGED.finditer(self._server.log, self._read)
        return [(None if match["name"] in (None, "<unnamed>") else match["name"], " ".join(match["text"].split())) for match in found]

    def commits(self) -> int:
        """Transactions since `begin` that wrote something."""
        return self._writing_commits() - self._commits

    def _writing_commits(self) -> int:
        row = self._admin.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint").fetchone()
        assert row
        return int(row[0])

    def close(self) -> None:
        self._admin.close()


@pytest.fixture
def counted(postgres: PostgresServer, database: Database) -> Iterator[Counted]:
    with psycopg.connect(database.superuser_url, autocommit=True) as admin:
        admin.execute(f"ALTER ROLE freehold_app IN DATABASE {database.name} SET log_statement = 'all'")
    counted = Counted(postgres, database.superuser_url)
    yield counted
    counted.close()


@pytest.fixture
async def sdk(database_url: str, valkey_url: str, counted: Counted, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LangGraphClient]:
    """A client of a server with a worker that neither polls nor reaps nor renews meanwhile."""
    monkeypatch.setattr(main, "POLL_SECONDS", 600.0)
    agents, patient = {"config": PROJECT, "shipped": False}, {"lease_seconds": 600, "concurrency": 4}
    with serving(database_url, valkey_url, agents=agents, worker=patient) as url:
        async with get_client(url=url, api_key=None) as client:
            yield client


async def test_a_quick_run_costs_eight_statements_and_four_commits_at_most(sdk: LangGraphClient, counted: Counted) -> None:
    # Three of the commits are: accepted, claimed, and ended together with all its checkpoints. A slow machine may need one more.
    threads = [(await sdk.threads.create())["thread_id"] for _ in range(RUNS + 1)]
    await sdk.runs.wait(threads[0], "turns", input={"steps": []})
    counted.begin()
    for thread_id in threads[1:]:
        await sdk.runs.wait(thread_id, "turns", input={"steps": []})
    sent = counted.statements()
    assert len(sent) <= 8 * RUNS, Counter(text[:80] for _, text in sent)
    assert counted.commits() <= 4 * RUNS


async def test_runs_that_wait_for_their_turn_are_claimed_in_the_commits_that_end_others(sdk: LangGraphClient, counted: Counted) -> None:
    thread_id = (await sdk.threads.create())["thread_id"]
    await sdk.runs.create(thread_id, "steps", input={"steps": [], "seconds": 1})
    waiting = [(await sdk.runs.create(thread_id, "turns", input={"steps": []}))["run_id"] for _ in range(RUNS)]
    counted.begin()
    await sdk.runs.join(thread_id, waiting[-1])
    first = 5  # what is left to do of the run they wait for, at most
    assert counted.commits() <= first + 2 * RUNS  # one for all checkpoints, the end and the next claim, and room for a slow machine


async def test_every_statement_of_a_run_is_prepared(sdk: LangGraphClient, counted: Counted) -> None:
    thread_id = (await sdk.threads.create())["thread_id"]
    await sdk.runs.wait(thread_id, "turns", input={"steps": []})  # before: what a process asks once
    for strategy in ("enqueue", "reject"):
        counted.begin()
        await sdk.runs.wait(thread_id, "turns", input={"steps": []}, multitask_strategy=strategy)  # type: ignore[arg-type]
        unprepared = [text for name, text in counted.statements() if name is None and text not in {"", "BEGIN", "COMMIT"}]
        assert unprepared == []
