"""Log lines: the ids of what is done, and of exceptions no more than may be told."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from freehold.telemetry import logs


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logs.set_up()
    root.handlers[:] = handlers
    root.setLevel(level)


def fail() -> ValueError:
    try:
        raise ValueError("the user said secret things")
    except ValueError as error:
        return error


def test_a_line_has_the_ids_of_what_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(form="json")
    with structlog.contextvars.bound_contextvars(run_id="r", thread_id="t", request_id="q"):
        logging.getLogger("users.agent").info("working", extra={"action": "works"})
    line = json.loads(capsys.readouterr().err)
    assert {name: line[name] for name in ("event", "action", "run_id", "thread_id", "request_id", "level")} == {
        "event": "working",
        "action": "works",
        "run_id": "r",
        "thread_id": "t",
        "request_id": "q",
        "level": "info",
    }


@pytest.mark.parametrize("form", ["json", "text"])
def test_of_an_exception_type_and_place_are_told(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(form=form)  # type: ignore[arg-type]
    error = fail()
    logging.getLogger("x").warning("it failed: %s", logs.told(error), **logs.failure(error, action="failed"))
    said = capsys.readouterr().err
    assert "secret" not in said
    assert "ValueError" in said and "test_logs.py" in said and "fail" in said


@pytest.mark.parametrize("form", ["json", "text"])
def test_the_whole_of_an_exception_is_told_where_content_is_kept(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(form=form, content=True)  # type: ignore[arg-type]
    error = fail()
    assert logs.told(error) == "ValueError: the user said secret things"
    logging.getLogger("x").warning("it failed", **logs.failure(error, action="failed"))
    said = capsys.readouterr().err
    assert "secret things" in said and "Traceback" in said
