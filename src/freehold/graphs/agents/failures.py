"""When the model does not answer: a sentence for the user instead of an exception, so that the conversation can go on."""

from __future__ import annotations

import re
from dataclasses import dataclass

import httpx
import openai
from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelRateLimitError,
    ModelTimeoutError,
)
from langchain_core.messages import AIMessage

_OVERFLOW = re.compile(r"context[ _](?:size|length|window)|n_ctx|maximum context|too many tokens|prompt is too long", re.IGNORECASE)


@dataclass(frozen=True)
class Failure:
    """A stable code for machines and a sentence for the user."""

    code: str
    sentence: str


_UNAVAILABLE = Failure(
    "model_unavailable", "The model server does not answer right now. Your message is kept; please ask again in a moment."
)
_TIMEOUT = Failure("model_timeout", "The model took too long to answer. Please try again, perhaps with a shorter question.")
_OVERLOADED = Failure("model_overloaded", "The model server is busy and did not take the question. Please ask again in a moment.")
_TOO_LONG = Failure(
    "context_overflow", "This is more text than the model can read at once. Please shorten the question, or start a new conversation."
)
_REFUSED = Failure("model_auth", "The model server refuses our key. Whoever runs this server can set OPENAI_API_KEY to a valid one.")
_UNKNOWN_MODEL = Failure(
    "model_not_found", "The model server does not know the configured model. Whoever runs this server can set model.name."
)
_OTHER = Failure("model_error", "The model server reported an error. Please try again; its log says more.")

#: First match wins, so subtypes come before their base.
_BY_TYPE: tuple[tuple[tuple[type[BaseException], ...], Failure], ...] = (
    ((ContextOverflowError,), _TOO_LONG),
    ((ModelTimeoutError, openai.APITimeoutError, httpx.TimeoutException, TimeoutError), _TIMEOUT),
    ((ModelConnectionError, openai.APIConnectionError, httpx.HTTPError), _UNAVAILABLE),
    ((ModelRateLimitError, openai.RateLimitError), _OVERLOADED),
    ((ModelAuthenticationError, ModelPermissionDeniedError, openai.AuthenticationError, openai.PermissionDeniedError), _REFUSED),
    ((ModelNotFoundError, openai.NotFoundError), _UNKNOWN_MODEL),
    ((ModelAPIError, ModelError, openai.APIError), _OTHER),
)


def explain_failure(error: BaseException) -> Failure | None:
    """What to tell the user about a failed model call; None for errors that are not the model's."""
    if isinstance(error, openai.APIError) and _OVERFLOW.search(str(error)):
        return _TOO_LONG
    if isinstance(error, openai.APIStatusError) and error.status_code == 503:
        return _OVERLOADED
    return next((failure for kinds, failure in _BY_TYPE if isinstance(error, kinds)), None)


def error_type(error: BaseException) -> str:
    """A failed call in one word, for metrics: the failure's code, else the exception's class."""
    failure = explain_failure(error)
    return failure.code if failure else type(error).__name__


def as_answer(failure: Failure) -> AIMessage:
    """The failure as the assistant's answer; clients find the code in `response_metadata`."""
    return AIMessage(failure.sentence, response_metadata={"finish_reason": "error", "error_code": failure.code})
