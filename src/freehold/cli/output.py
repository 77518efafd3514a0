"""How commands speak: data on stdout, everything else on stderr; bars on a terminal, lines elsewhere, JSON where it was asked for."""

from __future__ import annotations

import dataclasses
import json as json_module
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from freehold.config import env
from freehold.core.errors import FreeholdError
from freehold.core.progress import Progress, Step, Unit

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

#: Seconds between two lines about the same step where there is no terminal.
LINE_INTERVAL = 5.0


def emit(data: object, human: str | Callable[[], str] = "", *, json: bool = False) -> None:
    """The result of a command on stdout: `data` as one JSON document, or `human`, a text or what makes one."""
    text = json_module.dumps(data, default=plain, ensure_ascii=False) if json else human() if callable(human) else human
    if text:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def say(text: str) -> None:
    """A line for people, on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def show_error(error: FreeholdError, *, json: bool) -> None:
    """An error with what to do next, on stderr."""
    if json:
        say(json_module.dumps({"error": {"code": error.code, "message": error.message, "hint": error.hint}}, ensure_ascii=False))
        return
    say(f"{paint('error:', '1;31')} {error.message}")
    if error.hint:
        say(f"{paint('hint:', '36')} {error.hint}")


def paint(text: str, style: str, *, stream: Any = None) -> str:
    """`text` in an ANSI style such as `"1;31"`, where the stream is a terminal that shall have colours."""
    coloured = is_terminal(stream or sys.stderr) and not env.get("NO_COLOR")
    return f"\x1b[{style}m{text}\x1b[0m" if coloured else text


def is_terminal(stream: Any = None) -> bool:
    """Whether people watch: a terminal, and not a build machine that pretends to be one."""
    return bool((stream or sys.stderr).isatty()) and not env.get("CI")


def can_ask() -> bool:
    """Whether somebody can answer a question."""
    return sys.stdin.isatty() and is_terminal()


def table(rows: Iterable[Sequence[str]], header: Sequence[str]) -> str:
    """Columns as wide as they need to be; the last one may be of any length."""
    lines = [list(header), *[list(row) for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]).rstrip() for line in lines
    )


def plain(value: object) -> object:
    """Values that JSON does not know, as values that it does."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value)


def size(count: float) -> str:
    """`1117320768` → `"1.12 GB"`."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count:.0f} B"


def duration(seconds: float) -> str:
    """`8`, `75` and `7300` seconds → `"8 s"`, `"1 min 15 s"`, `"2 h 1 min"`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def progress(json: bool = False) -> Progress:
    """Shows long work: as JSON lines, as bars on a terminal, else as a line now and then. All on stderr."""
    if json:
        return _Reporting(_JsonStep)
    return _Bars() if is_terminal() else _Reporting(_LineStep)


class _Reporting:
    """Progress whose steps report themselves."""

    def __init__(self, kind: type[_LineStep] | type[_JsonStep]) -> None:
        self._kind = kind

    @contextmanager
    def step(self, label: str, *, total: float | None = None, unit: Unit = "items", done: float = 0) -> Iterator[Step]:
        step = self._kind(label, total, unit, done)
        yield step
        step.finish()

    def say(self, text: str) -> None:
        say(json_module.dumps({"event": "message", "text": text}) if self._kind is _JsonStep else text)


class _LineStep:
    """A step as plain lines: at its start, every few seconds, at its end."""

    def __init__(self, label: str, total: float | None, unit: Unit, done: float) -> None:
        self._label, self._total, self._unit, self._done = label, total, unit, done
        self._before = done
        self._started = self._last = time.monotonic()
        self._note = ""
        say(f"{label} ...")

    def advance(self, amount: float) -> None:
        self._done += amount
        now = time.monotonic()
        if now - self._last >= LINE_INTERVAL:
            self._last = now
            say(f"{self._label}: {self._text(now - self._started)}")

    def note(self, text: str) -> None:
        self._note = text

    def finish(self) -> None:
        say(f"{self._label}: done in {duration(time.monotonic() - self._started)}")

    def _text(self, elapsed: float) -> str:
        show = size if self._unit == "bytes" else lambda count: f"{count:.0f}"
        rate = (self._done - self._before) / elapsed if elapsed else 0
        parts = [f"{show(self._done)} of {show(self._total)} ({self._done / self._total:.0%})" if self._total else show(self._done)]
        if self._unit == "bytes":
            parts.append(f"{size(rate)}/s")
        if self._total and rate > 0:
            parts.append(f"{duration(max(0, self._total - self._done) / rate)} left")
        return ", ".join([*parts, self._note] if self._note else parts)


class _JsonStep:
    """A step as JSON lines, at most a few a second."""

    def __init__(self, label: str, total: float | None, unit: Unit, done: float) -> None:
        self._label, self._total, self._unit, self._done = label, total, unit, done
        self._last = 0.0
        self._report("start")

    def advance(self, amount: float) -> None:
        self._done += amount
        now = time.monotonic()
        if now - self._last >= 0.5:
            self._last = now
            self._report("progress")

    def note(self, text: str) -> None:
        self._report("note", note=text)

    def finish(self) -> None:
        self._report("end")

    def _report(self, event: str, **more: str) -> None:
        say(json_module.dumps({"event": event, "step": self._label, "done": self._done, "total": self._total, "unit": self._unit, **more}))


class _Bars:
    """Progress as bars of `rich`, which is loaded only when something is shown."""

    def __init__(self) -> None:
        self._bars: Bars | None = None
        self._open = 0

    @contextmanager
    def step(self, label: str, *, total: float | None = None, unit: Unit = "items", done: float = 0) -> Iterator[Step]:
        bars = self._start()
        task = bars.add_task(label, total=total, completed=int(done), unit=unit, note="")
        try:
            yield _BarStep(bars, task)
            bars.update(task, completed=total if total is not None else 1, total=total if total is not None else 1, note="")
        finally:
            bars.stop_task(task)
            self._stop()

    def say(self, text: str) -> None:
        if self._bars:
            self._bars.console.print(text, markup=False, highlight=False)
        else:
            say(text)

    def _start(self) -> Bars:
        if self._bars is None:
            self._bars = _make_bars()
            self._bars.start()
        self._open += 1
        return self._bars

    def _stop(self) -> None:
        self._open -= 1
        if self._open == 0 and self._bars:
            self._bars.stop()
            self._bars = None


class _BarStep:
    def __init__(self, bars: Bars, task: TaskID) -> None:
        self._bars, self._task = bars, task

    def advance(self, amount: float) -> None:
        self._bars.advance(self._task, amount)

    def note(self, text: str) -> None:
        self._bars.update(self._task, note=text[-60:])


def _make_bars() -> Bars:
    from rich.console import Console
    from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars
    from rich.text import Text

    class Amount(ProgressColumn):
        """Bytes with rate and time left; counts otherwise; nothing where the end is not known."""

        def render(self, task: Task) -> Text:
            if task.total is None or task.fields["unit"] == "seconds":
                return Text("")
            if task.fields["unit"] != "bytes":
                return Text(f"{task.completed:.0f}/{task.total:.0f}")
            left = f", {duration(task.time_remaining)} left" if task.time_remaining else ""
            rate = f", {size(task.speed)}/s" if task.speed else ""
            return Text(f"{size(task.completed)} of {size(task.total)}{rate}{left}")

    columns = (
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description}"),
        BarColumn(24),
        Amount(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    return Bars(*columns, console=Console(stderr=True))
