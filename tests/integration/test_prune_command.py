"""`freehold prune` as the program it is, on a real database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import START, MessagesState, StateGraph

from freehold.core.caller import Caller
from freehold.core.errors import NotFound
from freehold.storage.checkpointer import PostgresSaver
from freehold.storage.pool import create_pool
from freehold.storage.threads import Threads

ANNA = Caller("acme", "anna")


async def talk(database_url: str, *, turns: int, days_ago: float = 0) -> str:
    """A thread with some turns, last used so many days ago."""
    async with create_pool(database_url, max_size=2) as pool:
        thread = str((await Threads(pool).create(ANNA)).thread_id)
        graph = StateGraph(MessagesState).add_node("a", lambda state: {"messages": [AIMessage("yes")]}).add_edge(START, "a")
        for number in range(turns):
            await graph.compile(checkpointer=PostgresSaver(pool)).ainvoke(
                {"messages": [HumanMessage(f"question {number}")]}, {"configurable": {"thread_id": thread}}
            )
        async with pool.connection() as conn:
            await conn.execute(
                "UPDATE freehold.threads SET created_at = now() - %(age)s, updated_at = now() - %(age)s, state_updated_at = now() - %(age)s"
                " WHERE thread_id = %(thread)s",
                {"age": timedelta(days=days_ago), "thread": thread},
            )
    return thread


def prune(folder: Path, database_url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "freehold", "prune", *arguments],
        cwd=folder,
        env={**os.environ, "DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


async def test_it_removes_old_checkpoints_and_says_what_and_how_large_the_rest_is(database_url: str, tmp_path: Path) -> None:
    await talk(database_url, turns=3)
    dry = prune(tmp_path, database_url, "--older-than", "0h", "--keep-latest", "--dry-run", "--json")
    done = prune(tmp_path, database_url, "--older-than", "0h", "--keep-latest", "--json")
    assert (dry.returncode, done.returncode) == (0, 0), dry.stderr + done.stderr
    report = json.loads(done.stdout)
    assert report["removed"] == json.loads(dry.stdout)["removed"]
    assert (report["removed"]["threads"], report["removed"]["checkpoints"], report["busy_threads"]) == (1, 8, 0)
    assert report["checkpoint_bytes"] > 0
    again = prune(tmp_path, database_url, "--older-than", "0h")
    assert again.stdout.startswith("nothing to remove\ncheckpoint tables: ")


async def test_by_default_nothing_goes_that_is_younger_than_thirty_days_and_no_thread(database_url: str, tmp_path: Path) -> None:
    thread = await talk(database_url, turns=3)
    assert prune(tmp_path, database_url).stdout.startswith("nothing to remove")
    async with create_pool(database_url, max_size=2) as pool:
        states = [state async for state in PostgresSaver(pool).alist({"configurable": {"thread_id": thread}})]
    assert len(states) == 9


async def test_whole_threads_are_removed_only_where_that_was_confirmed(database_url: str, tmp_path: Path) -> None:
    old, new = await talk(database_url, turns=2, days_ago=40), await talk(database_url, turns=2)
    refused = prune(tmp_path, database_url, "--whole-threads")
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    done = prune(tmp_path, database_url, "--whole-threads", "--yes")
    assert done.stdout.startswith("removed 1 thread with 6 checkpoints, "), done.stdout + done.stderr
    async with create_pool(database_url, max_size=2) as pool:
        with pytest.raises(NotFound):
            await Threads(pool).get(ANNA, UUID(old))
        assert str((await Threads(pool).get(ANNA, UUID(new))).thread_id) == new


async def test_an_age_nobody_can_read_is_an_error_with_an_example(database_url: str, tmp_path: Path) -> None:
    wrong = prune(tmp_path, database_url, "--older-than", "a month")
    assert wrong.returncode == 2
    assert 'such as "12h", "30d" or "8w", got "a month"' in wrong.stderr
