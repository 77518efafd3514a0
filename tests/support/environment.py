"""A clean environment before anything of ours is imported, so a developer's shell cannot change what the tests see."""

from __future__ import annotations

import os
import signal
from collections.abc import MutableMapping

from freehold.config.env import PROCESS_DEFAULTS

#: Whole families that configure us, our libraries or our clients.
_PREFIXES = ("FREEHOLD_", "OPENAI_", "HF_", "LANGSMITH_", "LANGCHAIN_", "LANGGRAPH_", "OTEL_", "PG", "REDIS_", "DATABASE_")
_NAMES = frozenset({"NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"})

#: Where gigabytes lie already; they change how long a test takes, never what it sees.
_KEPT = frozenset({"FREEHOLD_CACHE", "FREEHOLD_LLAMA_SERVER", "FREEHOLD_TEST_PGBOUNCER"})


def clean(environ: MutableMapping[str, str] = os.environ) -> None:
    """Remove every variable that configures us, then set what every process of ours sets."""
    for name in list(environ):
        if name in _NAMES or (name.startswith(_PREFIXES) and name not in _KEPT):
            del environ[name]
    for name, value in PROCESS_DEFAULTS.items():
        environ.setdefault(name, value)
    environ["NO_PROXY"] = environ["no_proxy"] = "127.0.0.1,localhost,::1"


def hear_interrupts() -> None:
    """A shell starts background jobs with SIGINT ignored, and programs under test would inherit that: they would not hear Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
