"""One call of a language model, counted exactly once, whoever watches it.

Two may watch the same call: the callbacks of a run (`meter.py`), which see every model, and our own chat model, which also
sees its first token before anything is held back. The callbacks come first and announce the call; our model joins it.
"""

from __future__ import annotations

import asyncio
import time
from contextvars import ContextVar
from types import TracebackType

from freehold.telemetry import metrics

_announced: ContextVar[ModelCall | None] = ContextVar("freehold_announced_model_call", default=None)


def announce(model: str) -> ModelCall:
    """A call that is about to be made in this context."""
    call = ModelCall(metrics.bounded("model", model))
    _announced.set(call)
    return call


def join(model: str) -> ModelCall:
    """The call that was announced for this model and nobody has joined yet; a new one where there is none.

    By context and not by LangChain's id of the call: it does not hand that to a model it streams from.
    """
    call = _announced.get()
    if call is None or not call.take(metrics.bounded("model", model)):
        return ModelCall(metrics.bounded("model", model))
    return call


class ModelCall:
    """Counted as active until `end`, which may be called again and then does nothing. Also a context manager."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._taken = False
        self._started = time.perf_counter()
        self._has_token = False
        self._ended = False
        metrics.LLM_ACTIVE_REQUESTS.labels(model).inc()

    def take(self, model: str) -> bool:
        """Whether this is a call of that model which nobody has taken, and which has not ended; it is taken then."""
        if self._taken or self._ended or self._model != model:
            return False
        self._taken = True
        return True

    def first_token(self) -> None:
        """A token came; only the first one counts."""
        if not self._has_token:
            self._has_token = True
            metrics.LLM_TIME_TO_FIRST_TOKEN.labels(self._model).observe(time.perf_counter() - self._started)

    def tokens(self, read: int, written: int) -> None:
        """What the model says it read and wrote; the parts of a stream may each say some."""
        if not self._ended:
            metrics.LLM_TOKENS_INPUT.labels(self._model).inc(read)
            metrics.LLM_TOKENS_GENERATED.labels(self._model).inc(written)

    def end(self, error_type: str | None = None, *, cancelled: bool = False) -> None:
        """The call is over.

        Args:
            error_type: what went wrong, e.g. "model_timeout"; None where nothing did.
            cancelled: nobody waits for it any more. It is no error, and how long it took says nothing about the model.
        """
        if self._ended:
            return
        self._ended = True
        metrics.LLM_ACTIVE_REQUESTS.labels(self._model).dec()
        if cancelled:
            return
        metrics.LLM_INFERENCE_DURATION.labels(self._model).observe(time.perf_counter() - self._started)
        if error_type is not None:
            metrics.LLM_INFERENCE_ERRORS.labels(self._model, error_type).inc()

    def __enter__(self) -> ModelCall:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.end()
        elif is_cancellation(error):
            self.end(cancelled=True)
        else:
            self.end(type(error).__name__)


def is_cancellation(error: BaseException) -> bool:
    """Whether an exception means that nobody waits any more: a cancelled task, or a stream its reader has left."""
    return isinstance(error, asyncio.CancelledError | GeneratorExit)
