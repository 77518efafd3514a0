"""The tests of tests/integration/test_checkpointer.py once more, through PgBouncer."""

import pytest
from tests.integration.test_checkpointer import *  # noqa: F403

pytestmark = pytest.mark.slow
