"""The tests of tests/unit/storage/test_thread_search.py once more, through PgBouncer: who asks is known for one transaction only."""

import pytest
from tests.unit.storage.test_thread_search import *  # noqa: F403

pytestmark = pytest.mark.slow
