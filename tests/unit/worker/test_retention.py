"""What a worker is asked to prune."""

from __future__ import annotations

from datetime import timedelta

import pytest

from freehold.config.settings import RetentionSection, Settings
from freehold.storage.retention import Policy
from freehold.worker.retention import policies

CHECKPOINTS = Policy(timedelta(days=30))
THREADS = Policy(timedelta(weeks=52), whole_threads=True)


def test_nothing_is_pruned_unless_somebody_asked_for_it() -> None:
    assert list(policies(Settings().retention)) == []


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"checkpoints": "30d"}, [CHECKPOINTS]),
        ({"threads": "52w"}, [THREADS]),
        ({"checkpoints": "30d", "threads": "52w"}, [CHECKPOINTS, THREADS]),
    ],
)
def test_each_age_that_is_set_is_one_policy(asked: dict[str, str], expected: list[Policy]) -> None:
    assert list(policies(RetentionSection.model_validate(asked))) == expected
