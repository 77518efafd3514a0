"""The tests of tests/integration/test_strategies.py once more, through PgBouncer."""

import pytest
from tests.integration.test_strategies import *  # noqa: F403

pytestmark = pytest.mark.slow
