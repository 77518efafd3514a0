"""`freehold ingest`, `search` and `knowledge` as a person or script runs them, against a database in DATABASE_URL."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from tests.support import documents

_PROGRAM = "from freehold.cli.main import run; run()"
_KNOWLEDGE = "from freehold.cli.knowledge import knowledge_app; knowledge_app()"


class Program:
    """Runs the program in a folder of its own."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self._folder = folder
        self._environment = {**os.environ, "DATABASE_URL": database_url}

    def run(self, *arguments: str, program: str = _PROGRAM) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Run in the background, in a process group of its own as a shell would."""
        return subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, *arguments],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
async def program(tmp_path: Path, database_url: str) -> Program:
    await documents.embedder()  # fetched before the clock of a subprocess runs
    return Program(tmp_path, database_url)


async def test_the_sample_is_ingested_and_found(program: Program) -> None:
    assert program.json("ingest", "--sample")["added"] == ["handbook.md"]

    found = program.json("search", "How many days of paid leave are there?")
    assert found["results"][0]["source"] == "handbook.md"
    assert "27 days" in found["results"][0]["content"]
    assert found["results"][0]["score"] >= found["min_score"]

    shown = program.run("search", "How many days of paid leave are there?", "-k", "1")
    assert "handbook.md · Time off > Annual leave" in shown.stdout


async def test_search_says_plainly_that_nothing_is_relevant(program: Program) -> None:
    empty = program.run("search", "How much leave?")
    assert (empty.returncode, empty.stdout) == (0, "Nothing relevant was found.\n")
    assert "the knowledge base is empty" in empty.stderr

    program.json("ingest", "--sample")
    unrelated = program.run("search", "Who won the football world cup in 1954?")
    assert unrelated.stdout == "Nothing relevant was found.\n"
    assert "the nearest passage, in handbook.md, scores" in unrelated.stderr
    assert program.json("search", "Who won the football world cup in 1954?")["results"] == []


async def test_a_file_that_fails_is_named_and_the_others_are_ingested(program: Program, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "good.md").write_text("# Canteen\n\nThe canteen opens at noon.")
    (tmp_path / "docs" / "scan.pdf").write_bytes(documents.pdf([""]))
    done = program.run("ingest", "docs")
    assert done.returncode == 1
    assert done.stdout.startswith("1 added, 1 failed: 1 chunk in")
    assert "failed: scan.pdf holds no text on its 1 pages: probably scanned" in done.stderr


async def test_ingest_without_a_path_is_a_usage_error(program: Program) -> None:
    done = program.run("ingest")
    assert done.returncode == 2
    assert "freehold ingest --sample" in done.stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
async def test_an_ingest_that_is_stopped_leaves_whole_documents_and_no_process(
    program: Program, tmp_path: Path, database_url: str, how: signal.Signals
) -> None:
    (tmp_path / "docs").mkdir()
    for number in range(40):
        (tmp_path / "docs" / f"{number:02}.txt").write_text("\n\n".join("word " * 190 for _ in range(3)))
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as conn:
        process = program.start("ingest", "docs")
        while not await stored(conn):
            assert process.poll() is None, process.communicate()
            await asyncio.sleep(0.02)
        readers = psutil.Process(process.pid).children(recursive=True)
        if how == signal.SIGINT:  # as Ctrl-C does: the whole group gets it
            os.killpg(process.pid, how)
        else:
            process.send_signal(how)
        _, errors = process.communicate(timeout=60)
        chunks = await stored(conn)
    assert 1 <= len(chunks) < 40 and set(chunks) == {3}
    assert readers and not psutil.wait_procs(readers, timeout=10)[1]
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "Traceback" not in errors
    assert len(program.json("ingest", "docs")["unchanged"]) == len(chunks)


async def stored(conn: psycopg.AsyncConnection) -> list[int]:
    rows = await (await conn.execute("SELECT count(*) FROM freehold.chunks GROUP BY document_id")).fetchall()
    return [row[0] for row in rows]


async def test_documents_are_listed_and_removed(program: Program) -> None:
    nothing = program.run("list", program=_KNOWLEDGE)
    assert (nothing.returncode, nothing.stdout) == (0, "No documents yet.\n")
    assert "freehold ingest --sample" in nothing.stderr

    program.json("ingest", "--sample")
    listed = json.loads(program.run("list", "--json", program=_KNOWLEDGE).stdout)
    assert [(item["source"], item["path"]) for item in listed] == [("handbook.md", "sample:handbook.md")]
    assert listed[0]["chunks"] >= 9

    removed = program.run("rm", "handbook.md", program=_KNOWLEDGE)
    assert (removed.returncode, removed.stdout) == (0, "removed handbook.md\n")
    assert program.run("list", "--json", program=_KNOWLEDGE).stdout == "[]\n"
