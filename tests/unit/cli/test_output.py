"""Data on stdout, the rest on stderr; plain where nobody watches, JSON where it was asked for."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass

import pytest

from freehold.cli import output


@dataclass(frozen=True)
class Thing:
    name: str


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_data_goes_to_stdout_as_text_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit({"things": [Thing("a")]}, "one thing: a")
    output.emit({"things": [Thing("a")]}, lambda: pytest.fail("not made for JSON"), json=True)
    seen = capsys.readouterr()
    assert seen.out.splitlines() == ["one thing: a", '{"things": [{"name": "a"}]}']
    assert seen.err == ""


@pytest.mark.parametrize(("count", "text"), [(12, "12 B"), (1200, "1.2 kB"), (5_300_000, "5.3 MB"), (1117320768, "1.12 GB")])
def test_sizes_are_short(count: int, text: str) -> None:
    assert output.size(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0 s"), (59, "59 s"), (60, "1 min"), (75, "1 min 15 s"), (7300, "2 h 1 min")])
def test_durations_are_short(seconds: float, text: str) -> None:
    assert output.duration(seconds) == text


def test_a_table_lines_its_columns_up() -> None:
    assert output.table([("a", "long one", "x"), ("bbb", "y", "")], ("N", "WHAT", "WHY")) == "N    WHAT      WHY\na    long one  x\nbbb  y"


def test_colour_needs_a_terminal_and_respects_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    assert output.paint("x", "31", stream=Terminal()) == "\x1b[31mx\x1b[0m"
    assert output.paint("x", "31", stream=io.StringIO()) == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert output.paint("x", "31", stream=Terminal()) == "x"


def test_a_build_machine_is_not_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "1")
    assert not output.is_terminal(Terminal())


def test_progress_without_a_terminal_is_lines_with_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = iter([0.0, 1.0, 10.0, 12.0])
    monkeypatch.setattr(output.time, "monotonic", lambda: next(now))
    with output.progress().step("model", total=1_000_000_000, unit="bytes", done=100_000_000) as step:
        step.advance(100_000_000)
        step.advance(200_000_000)
    assert capsys.readouterr().err.splitlines() == ["model ...", "model: 400 MB of 1 GB (40%), 30 MB/s, 20 s left", "model: done in 12 s"]


def test_a_step_that_fails_is_not_called_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="x"), output.progress().step("model"):
        raise ValueError("x")
    assert capsys.readouterr().err.splitlines() == ["model ..."]


def test_progress_as_json_is_a_line_for_each_event(capsys: pytest.CaptureFixture[str]) -> None:
    progress = output.progress(json=True)
    with progress.step("model", total=10) as step:
        step.advance(10)
        step.note("half")
    progress.say("done")
    seen = capsys.readouterr()
    assert [json.loads(line)["event"] for line in seen.err.splitlines()] == ["start", "progress", "note", "end", "message"]
    assert seen.out == ""


def test_bars_on_a_terminal_show_the_step_and_go_away(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(output.sys, "stderr", terminal)
    monkeypatch.delenv("CI", raising=False)
    progress = output.progress()
    with progress.step("model", total=10, unit="bytes") as step:
        step.advance(10)
        step.note("part 1")
        progress.say("using the mirror")
    assert "model" in terminal.getvalue()
    assert "using the mirror" in terminal.getvalue()
