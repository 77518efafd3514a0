"""`freehold ingest`, `search` and `knowledge` as a person or script runs them, against a database in DATABASE_URL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support import documents


class Program:
    """Runs the program in a folder of its own."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self._folder = folder
        self._environment = {**os.environ, "DATABASE_URL": database_url}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from freehold.cli.main import run; run()", *arguments],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
async def program(tmp_path: Path, database_url: str) -> Program:
    await documents.embedder()  # fetched before the clock of a subprocess runs
    return Program(tmp_path, database_url)


async def test_the_sample_is_ingested_found_listed_and_removed(program: Program) -> None:
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
    unrelated = program.run("search", "Who painted the ceiling of the Sistine Chapel?")
    assert unrelated.stdout == "Nothing relevant was found.\n"
    assert "the nearest passage, in handbook.md, scores" in unrelated.stderr
    assert program.json("search", "Who painted the ceiling of the Sistine Chapel?")["results"] == []


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
