"""Which status each error becomes, and in which shape."""

from __future__ import annotations

import json

import pytest

from freehold.core import errors
from freehold.server.errors import respond, status_of


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.NotFound(), 404),
        (errors.Conflict(), 409),
        (errors.InvalidRequest(), 422),
        (errors.NotSupported(), 422),
        (errors.Unauthenticated(), 401),
        (errors.Forbidden(), 403),
        (errors.StorageUnavailable(), 503),
        (errors.ModelUnavailable(), 503),
        (errors.NotConfigured(), 503),
        (errors.TimedOut(), 504),
        (errors.GraphError(), 500),
        (errors.RunFailed(), 500),
        (errors.FreeholdError(), 500),
    ],
)
def test_every_error_has_a_status(error: errors.FreeholdError, status: int) -> None:
    assert status_of(error) == status


def test_an_error_is_a_sentence_a_code_and_a_hint() -> None:
    response = respond(409, "it is busy", "conflict", "wait")
    assert json.loads(response.body) == {"detail": "it is busy", "code": "conflict", "hint": "wait"}


def test_a_fault_of_the_server_names_the_request_that_its_log_has() -> None:
    assert json.loads(respond(503, "away", "storage_unavailable", request_id="r-1").body)["request_id"] == "r-1"
    assert "request_id" not in json.loads(respond(404, "none", "not_found", request_id="r-1").body)


def test_a_service_that_is_away_says_when_to_try_again() -> None:
    assert respond(503, "away", "storage_unavailable").headers["retry-after"] == "2"


def test_openais_clients_get_openais_shape() -> None:
    response = respond(422, "no", "not_supported", "leave it out", openai=True)
    assert response.status_code == 400
    assert json.loads(response.body) == {
        "error": {"message": "no (leave it out)", "type": "invalid_request_error", "param": None, "code": "not_supported"}
    }


def test_openais_clients_do_not_run_a_failed_agent_again() -> None:
    assert respond(500, "it failed", "run_failed", openai=True).headers["x-should-retry"] == "false"
    assert "x-should-retry" not in respond(503, "away", "storage_unavailable", openai=True).headers
