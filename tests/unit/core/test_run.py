from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import get_args

import pytest

from freehold.core.ids import new_id
from freehold.core.run import ACTIVE, TERMINAL, Run, RunRequest, RunStatus


def test_every_status_is_either_active_or_terminal() -> None:
    assert set(get_args(RunStatus)) == ACTIVE | TERMINAL
    assert not ACTIVE & TERMINAL


@pytest.mark.parametrize("status", get_args(RunStatus))
def test_a_run_is_active_until_it_ends(status: RunStatus) -> None:
    now = datetime.now(UTC)
    run = Run(new_id(), new_id(), new_id(), "o", "ada", status, RunRequest(), {}, "enqueue", 1, 1, now, now)
    assert run.is_active is (status in {"pending", "running"})


def test_a_request_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunRequest().input = 1  # type: ignore[misc]
