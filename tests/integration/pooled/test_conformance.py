"""The tests of tests/conformance/test_checkpointer.py once more, through PgBouncer."""

import pytest
from tests.conformance.test_checkpointer import *  # noqa: F403

pytestmark = pytest.mark.slow
