"""The tests of tests/integration/test_worker.py once more, through PgBouncer."""

import pytest
from tests.integration.test_worker import *  # noqa: F403

pytestmark = pytest.mark.slow
