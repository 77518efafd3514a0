from __future__ import annotations

from freehold.core.machine import GIB, Machine
from freehold.core.progress import Progress, Silent


def test_nobody_watching_is_no_trouble() -> None:
    progress: Progress = Silent()
    with progress.step("download", total=10, unit="bytes") as step:
        step.advance(10)
        step.note("model.gguf")
    progress.say("done")


def test_an_error_inside_a_step_is_not_swallowed() -> None:
    try:
        with Silent().step("download"):
            raise ValueError("broken")
    except ValueError as error:
        assert str(error) == "broken"
    else:
        raise AssertionError("the step swallowed the error")


def test_memory_is_shown_in_gib() -> None:
    assert Machine("Linux", "x86_64", 2, 24 * GIB).memory_gib == 24.0
