"""The tests of tests/integration/test_documents.py once more, through PgBouncer."""

import pytest
from tests.integration.test_documents import *  # noqa: F403

pytestmark = pytest.mark.slow
