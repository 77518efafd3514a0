"""Every page: its blocks run, its commands exist, its links lead somewhere, its generated parts are up to date."""

from __future__ import annotations

import os
import re
import runpy
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from tests.support.pages import ROOT, blocks, commands, pages, run
from typer.core import TyperGroup
from typer.main import get_command

from freehold.cli.main import app
from freehold.config.load import load
from freehold.lab.scripted_model import ScriptedModel

PAGES = pages()
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


@dataclass(frozen=True)
class Stack:
    """Where a page's commands run, and the port its server has."""

    folder: Path
    port: int
    environ: dict[str, str]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def place(tmp_path: Path) -> Stack:
    """A folder without a stack."""
    return Stack(tmp_path, _free_port(), dict(os.environ))


@pytest.fixture
def stack(place: Stack, _scripted_model: ScriptedModel) -> Iterator[Stack]:
    """A folder whose stack is up, with a scripted model for the language model."""
    environ = {**place.environ, "OPENAI_BASE_URL": _scripted_model.base_url, "OPENAI_API_KEY": "none"}
    freehold = str(Path(sys.executable).parent / "freehold")
    up = subprocess.run(
        [freehold, "up", "--detach", "--port", str(place.port)], cwd=place.folder, env=environ, capture_output=True, text=True, check=False
    )
    try:
        assert up.returncode == 0, up.stderr
        yield Stack(place.folder, place.port, environ)
    finally:
        subprocess.run([freehold, "down"], cwd=place.folder, env=environ, capture_output=True, check=False)


def _run_page(page: Path, place: Stack) -> None:
    for block in blocks(page.read_text()):
        if block.skipped_because:
            continue
        if block.language == "toml":
            path = place.folder / "checked.toml"
            path.write_text(block.text)
            load(path, environ={})
        elif failure := run(block, place.folder, port=place.port, environ=place.environ):
            pytest.fail(f"{page.relative_to(ROOT)}, line {block.line}: {failure}", pytrace=False)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_the_commands_of_a_page_work(page: Path, request: pytest.FixtureRequest) -> None:
    needs_stack = any(block.needs_stack for block in blocks(page.read_text()))
    _run_page(page, request.getfixturevalue("stack" if needs_stack else "place"))


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    registered = set(group.list_commands(typer.Context(group)))
    assert commands(text, "make") - verbs == set()
    assert commands(text, "freehold") - registered == set()


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_relative_link_of_a_page_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_generated_pages_are_up_to_date() -> None:
    generated = runpy.run_path(str(ROOT / "docs" / "generate.py"))["pages"]()
    assert generated, "the generator writes nothing"
    stale = [str(path.relative_to(ROOT)) for path, text in generated.items() if not path.exists() or path.read_text() != text]
    assert stale == [], "run `make docs`"
