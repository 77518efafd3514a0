"""Each call of a model is counted once, whoever watches."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY

from freehold.telemetry import model_calls


@pytest.fixture
def model() -> str:
    """A name no other test counts under."""
    return f"model-{uuid4()}"


def count(name: str, model: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"model": model, **labels}) or 0.0


def test_a_call_that_was_announced_and_joined_is_one(model: str) -> None:
    announced = model_calls.announce(model)
    with model_calls.join(model) as joined:
        assert count("llm_active_requests", model) == 1
        joined.first_token()
        announced.first_token()
        joined.tokens(10, 3)
    announced.tokens(10, 3)
    announced.end()
    assert count("llm_active_requests", model) == 0
    assert count("llm_inference_duration_seconds_count", model) == 1
    assert count("llm_time_to_first_token_seconds_count", model) == 1
    assert (count("llm_tokens_input_total", model), count("llm_tokens_generated_total", model)) == (10, 3)


def test_a_call_nobody_announced_is_one_of_its_own(model: str) -> None:
    model_calls.announce(f"{model}-other")
    with model_calls.join(model):
        assert count("llm_active_requests", model) == 1
    with model_calls.join(model):
        pass
    assert count("llm_inference_duration_seconds_count", model) == 2


def test_a_call_that_has_ended_or_was_joined_is_not_joined_again(model: str) -> None:
    ended = model_calls.announce(model)
    ended.end()
    assert model_calls.join(model) is not ended
    announced = model_calls.announce(model)
    assert model_calls.join(model) is announced
    assert model_calls.join(model) is not announced


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit])
def test_a_cancelled_call_is_neither_an_error_nor_a_duration(model: str, error: type[BaseException]) -> None:
    with pytest.raises(error), model_calls.join(model):
        raise error
    assert count("llm_active_requests", model) == 0
    assert count("llm_inference_duration_seconds_count", model) == 0
    assert count("llm_inference_errors_total", model, error_type=error.__name__) == 0


def test_an_error_counts_by_its_type_and_its_duration_too(model: str) -> None:
    with pytest.raises(ValueError), model_calls.join(model):
        raise ValueError
    assert count("llm_inference_errors_total", model, error_type="ValueError") == 1
    assert count("llm_inference_duration_seconds_count", model) == 1
