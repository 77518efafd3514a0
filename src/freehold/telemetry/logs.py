"""Logging, set up once per process: a sentence for people and an `action` key for machines.

Code logs with the standard library and `extra={"action": …}`; structlog renders it, as JSON where nobody watches and as
text on a terminal. Values of known secrets never get here: they are `SecretStr` until the moment of use.
"""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog

#: Libraries that say too much at level info.
_QUIET = ("httpx", "httpcore", "openai", "uvicorn.access", "psycopg.pool", "watchfiles", "langchain", "asyncio")

_SHARED: tuple[structlog.typing.Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def set_up(level: Literal["debug", "info", "warning", "error"] = "info", form: Literal["auto", "json", "text"] = "auto") -> None:
    """Send all logging to standard error in one form; `auto` is text on a terminal, JSON elsewhere."""
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
