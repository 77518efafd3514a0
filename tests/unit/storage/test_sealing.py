"""What a project's encryption must not miss."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from freehold.storage import queries
from freehold.storage.sealing import _SEALED

#: Arguments that hold what people and graphs said, wherever a statement writes them.
CONTENTS = {"request", "payload", "value", "arguments", "thread_config", "interrupts", "error", "thread_error", "config", "context"}
FILES = sorted(entry.name.removesuffix(".sql") for entry in files(queries).iterdir() if entry.name.endswith(".sql"))


@pytest.mark.parametrize("file", FILES)
def test_every_statement_that_stores_contents_seals_them(file: str) -> None:
    for name, statement in queries.load(file).items():
        if re.search(r"\b(INSERT INTO|UPDATE)\b", statement):
            written = set(re.findall(r"%\((\w+)\)s", statement)) & CONTENTS
            sealed = set(_SEALED.get((file, name), ())) | ({"error"} if file == "tool_calls" else set())
            assert written <= sealed, f"{file}.sql: {name}"
