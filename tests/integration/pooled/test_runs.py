"""The tests of tests/unit/storage/test_runs.py once more, through PgBouncer."""

import pytest
from tests.unit.storage.test_runs import *  # noqa: F403

pytestmark = pytest.mark.slow
