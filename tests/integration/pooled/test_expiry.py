"""The tests of tests/unit/storage/test_expiry.py once more, through PgBouncer."""

import pytest
from tests.unit.storage.test_expiry import *  # noqa: F403

pytestmark = pytest.mark.slow
