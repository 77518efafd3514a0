"""One call of a language model, counted exactly once, whoever watches it.

Two may watch the same call: our own chat model, which sees its first token before anything is held back, and the callbacks
of a run (`meter.py`), which see the calls of every other model. The id LangChain gives a call tells them that it is one.
"""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from uuid import UUID

from freehold.telemetry import metrics

_under_way: dict[UUID, ModelCall] = {}


def begin(model: str, call_id: UUID | None = None) -> ModelCall:
    """The call with this id, made where it is not known yet; a call without an id is always a new one."""
    if call_id is not None and (known := _under_way.get(call_id)):
        return known
    call = ModelCall(metrics.bounded("model", model), call_id)
    if call_id is not None:
        _under_way[call_id] = call
    return call


def under_way(call_id: UUID) -> ModelCall | None:
    """The call with this id, until it has ended."""
    return _under_way.get(call_id)


class ModelCall:
    """Counted as active until `end`, which may be called again and then does nothing. Also a context manager."""

    def __init__(self, model: str, call_id: UUID | None) -> None:
        self._model = model
        self._call_id = call_id
        self._started = time.perf_counter()
        self._has_token = False
        self._ended = False
        metrics.LLM_ACTIVE_REQUESTS.labels(model).inc()

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
        if self._call_id is not None:
            _under_way.pop(self._call_id, None)
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
