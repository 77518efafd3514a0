"""The tests of tests/integration/test_retention.py once more, through PgBouncer."""

import pytest
from tests.integration.test_retention import *  # noqa: F403

pytestmark = pytest.mark.slow
