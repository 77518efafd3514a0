"""A stack's databases as a file and back: what was there returns, what came later is gone, and a bad file changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
import redis
from tests.support.stack_folder import Folder, make_folder

from freehold.targets.native.connections import connections


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Folder]:
    folder = make_folder(tmp_path / "project")
    folder.up()
    yield folder
    folder.run("reset", "--yes", code=None)


def add_thread(folder: Folder) -> str:
    return str(httpx.post(f"http://127.0.0.1:{folder.port}/threads", json={}).json()["thread_id"])


def threads(folder: Folder) -> set[str]:
    return {thread["thread_id"] for thread in httpx.post(f"http://127.0.0.1:{folder.port}/threads/search", json={}).json()}


def databases(folder: Folder) -> set[str]:
    with psycopg.connect(connections(folder.home.path).database_url) as connection:
        return {row[0] for row in connection.execute("SELECT datname FROM pg_database WHERE NOT datistemplate").fetchall()}


def test_what_was_there_returns_and_what_came_later_is_gone(stack: Folder) -> None:
    first = add_thread(stack)
    made = json.loads(stack.run("backup", "--out", "a.backup", "--json").stdout)
    assert made["databases"] == ["freehold"]
    second = add_thread(stack)
    with redis.Redis.from_url(connections(stack.home.path).redis_url) as client:
        client.set("freehold:run:late", "an event of a run that is forgotten")
        stack.run("restore", "a.backup", "--yes", "--keep")
    assert threads(stack) == {first}
    with redis.Redis.from_url(connections(stack.home.path).redis_url) as client:
        assert client.exists("freehold:run:late") == 0
    (kept,) = databases(stack) - {"freehold", "postgres"}
    assert kept.startswith("freehold_replaced_")
    assert second not in threads(stack)
    assert add_thread(stack) in threads(stack)


def test_a_stopped_stack_is_saved_and_restored_and_stays_stopped(stack: Folder) -> None:
    first = add_thread(stack)
    stack.run("down")
    stack.run("backup", "--out", "a.backup")
    stack.run("restore", "a.backup", "--yes")
    assert not stack.home.is_running()
    stack.up()
    assert threads(stack) == {first}
    assert databases(stack) == {"freehold", "postgres"}


def test_a_damaged_file_stops_nothing_and_changes_nothing(stack: Folder) -> None:
    first = add_thread(stack)
    stack.run("backup", "--out", "a.backup")
    data = bytearray((stack.path / "a.backup").read_bytes())
    data[5000] ^= 1
    (stack.path / "a.backup").write_bytes(data)
    pids = stack.pids()
    assert "is damaged" in stack.run("restore", "a.backup", "--yes", code=6).stderr
    assert stack.pids() == pids
    assert threads(stack) == {first}


def test_a_backup_of_a_newer_version_is_refused_by_the_name_of_what_is_unknown(stack: Folder) -> None:
    with psycopg.connect(connections(stack.home.path).migration_url) as connection:
        connection.execute("INSERT INTO freehold.migrations (name, hash) VALUES ('9999_later.sql', '')")
    stack.run("backup", "--out", "a.backup")
    error = stack.run("restore", "a.backup", "--yes", code=6).stderr
    assert "does not know 9999_later.sql" in error


def test_restore_without_a_terminal_wants_to_be_told(stack: Folder) -> None:
    stack.run("backup", "--out", "a.backup")
    assert "--yes" in stack.run("restore", "a.backup", code=2).stderr
    assert "is there already" in stack.run("backup", "--out", "a.backup", code=3).stderr
