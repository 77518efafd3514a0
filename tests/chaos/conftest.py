"""How much chaos: `--chaos-runs` and `--chaos-seed`."""

from __future__ import annotations

import pytest


@pytest.fixture
def chaos_runs(request: pytest.FixtureRequest) -> int:
    """Runs that the long test plays at least."""
    return int(request.config.getoption("--chaos-runs"))


@pytest.fixture
def chaos_seed(request: pytest.FixtureRequest) -> int:
    """Where its seeds begin: give the number a failure printed to play that seed first."""
    return int(request.config.getoption("--chaos-seed"))
