"""The compatibility page: every row has a test that runs, and the words of the marks are read as they were meant."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
from tests.support.pages import ROOT

COMPATIBILITY: dict[str, Any] = runpy.run_path(str(ROOT / "docs" / "compatibility.py"))
MARKS = COMPATIBILITY["marks"]()

TESTS = """
import pytest

@pytest.mark.compat("Threads", "POST /threads/{thread_id}/copy", "the copy goes on by itself")
async def test_copy(): ...

@pytest.mark.slow
@pytest.mark.compat("Threads", "GET, PATCH /threads/{id}: ttl", "it is | changed")
@pytest.mark.compat("Store", "vectors", "none are kept", refused=True)
def test_two(): ...

@pytest.mark.skip
@pytest.mark.compat("Runs", "POST /runs?x=", "nothing")
def test_skipped(): ...
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tests = tmp_path / "tests" / "api"
    tests.mkdir(parents=True)
    (tests / "test_some.py").write_text(TESTS)
    return tests


def test_marks_are_read_from_the_source_with_their_tests(folder: Path) -> None:
    found = COMPATIBILITY["marks"](folder)
    assert [(mark.area, mark.refused, mark.not_run, mark.test) for mark in found] == [
        ("Threads", False, False, "tests/api/test_some.py::test_copy"),
        ("Threads", False, False, "tests/api/test_some.py::test_two"),
        ("Store", True, False, "tests/api/test_some.py::test_two"),
        ("Runs", False, True, "tests/api/test_some.py::test_skipped"),
    ]


def test_a_row_names_its_endpoints(folder: Path) -> None:
    missing = COMPATIBILITY["missing_endpoints"](COMPATIBILITY["marks"](folder))
    named = set(COMPATIBILITY["ENDPOINTS"]) - set(missing)
    assert named == {"POST /threads/{}/copy", "GET /threads/{}", "PATCH /threads/{}", "POST /runs"}
    assert list(COMPATIBILITY["endpoints"]("GET and POST /a/{x}/b, see above")) == ["GET /a/{}/b", "POST /a/{}/b"]


def test_the_page_is_grouped_and_tells_refusals(folder: Path) -> None:
    page = COMPATIBILITY["page"](COMPATIBILITY["marks"](folder))
    assert page.index("## Threads") < page.index("## Store")
    assert "| POST /threads/{thread_id}/copy | supported | the copy goes on by itself | `test_some: test_copy` |" in page
    assert "| vectors | refused | none are kept | `test_some: test_two` |" in page
    assert "it is \\| changed" in page


def test_what_is_no_literal_is_named(tmp_path: Path) -> None:
    (tmp_path / "test_bad.py").write_text("@pytest.mark.compat('Runs', ROW, 'x')\ndef test_bad(): ...\n")
    with pytest.raises(ValueError, match=r"test_bad\.py::test_bad"):
        COMPATIBILITY["marks"](tmp_path)


def test_every_row_is_proved_by_a_test_that_runs() -> None:
    assert MARKS
    assert [mark.test for mark in MARKS if mark.not_run] == []


def test_every_endpoint_of_the_published_api_has_a_row() -> None:
    assert COMPATIBILITY["missing_endpoints"](MARKS) == []


def test_no_row_is_both_supported_and_refused_for_the_same_reason() -> None:
    told = {(mark.area, mark.row, mark.shows): mark.refused for mark in MARKS}
    assert [mark for mark in MARKS if told[mark.area, mark.row, mark.shows] != mark.refused] == []
