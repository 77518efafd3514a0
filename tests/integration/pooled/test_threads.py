"""The tests of tests/unit/storage/test_threads.py once more, through PgBouncer."""

import pytest
from tests.unit.storage.test_threads import *  # noqa: F403

pytestmark = pytest.mark.slow
