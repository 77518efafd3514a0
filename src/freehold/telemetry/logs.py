"""Logging, set up once per process: a sentence for people and an `action` key for machines.

Code logs with the standard library and `extra={"action": …}`; structlog renders it, as JSON where nobody watches and as
text on a terminal. Values of known secrets never get here: they are `SecretStr` until the moment of use. Exceptions of
graphs, tools and models may quote what users wrote, so their text is logged only where `telemetry.content` is on.
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any, Literal

import structlog

#: Libraries that say too much at level info.
_QUIET = ("httpx", "httpcore", "openai", "uvicorn.access", "psycopg.pool", "watchfiles", "langchain", "asyncio")

_SHARED: tuple[structlog.typing.Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


_content = False


def set_up(
    level: Literal["debug", "info", "warning", "error"] = "info",
    form: Literal["auto", "json", "text"] = "auto",
    *,
    content: bool = False,
) -> None:
    """Send all logging to standard error in one form; `auto` is text on a terminal, JSON elsewhere.

    Args:
        content: whether the text of users' exceptions may be logged.
    """
    global _content
    _content = content
    as_text = form == "text" or (form == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()) if as_text else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    final: list[structlog.typing.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if not as_text:
        final.append(structlog.processors.format_exc_info)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=list(_SHARED), processors=[*final, renderer]))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True


def keeps_content() -> bool:
    """Whether log lines may hold prompts, answers and the text of users' exceptions."""
    return _content


def failure(error: BaseException, **extra: Any) -> dict[str, Any]:
    """Arguments of a log call about an exception that may quote a user: its traceback, or only its type and place.

    E.g. `log.warning("a graph raised %s", "ValueError", **failure(error, action="graph_raised"))`.
    """
    if _content:
        return {"exc_info": error, "extra": extra}
    frames = traceback.extract_tb(error.__traceback__)
    where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return {"extra": {**extra, "error_type": type(error).__qualname__, "where": where}}


def told(error: BaseException) -> str:
    """An exception in a sentence, or only its type where its text may not be logged."""
    return f"{type(error).__qualname__}: {error}" if _content else type(error).__qualname__
