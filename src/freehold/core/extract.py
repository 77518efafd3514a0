"""Paths into a thread, as clients of a search write them: `values.messages[-1].content`.

A path is read into its steps here and becomes a jsonpath of ours, in which every key is a quoted text. Nothing a client wrote is
ever part of a statement.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from freehold.core.errors import InvalidRequest

#: Parts of a thread that hold a client's JSON.
ROOTS = ("values", "metadata", "config", "interrupts")

MOST_PATHS = 10
MOST_STEPS = 20

_ALIAS = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_STEP = re.compile(
    r"""\.(?P<key>[^.\[\]"'\\\s$*?@(){},:]{1,200})"""  # .messages
    r"""|\[(?P<index>-?\d{1,6})\]"""  # [-1]
    r"""|\[(?P<all>\*)\]"""
    r"""|\["(?P<quoted>[^"\\\x00]{1,200})"\]"""  # ["a key with dots"]
)

_FORM = "expected e.g. values.messages[-1].content: keys behind dots, [n] from the start, [-n] from the end, [*] for all"


@dataclass(frozen=True)
class Path:
    """Where to look: a part of the thread, and keys (text), positions (numbers) or all items (None) below it."""

    root: str
    steps: tuple[str | int | None, ...] = ()

    @property
    def is_list(self) -> bool:
        """Whether it leads to any number of values."""
        return None in self.steps

    @property
    def jsonpath(self) -> str:
        """For PostgreSQL: `$."messages"[last - 0]."content"`, strict, so that a key is never looked for in the items of a list."""
        return "strict $" + "".join(_shown(step) for step in self.steps)


def parse_path(text: str) -> Path:
    """Read one path. Raises InvalidRequest where it is not one, or begins with something that cannot be looked into."""
    root, rest = _split_root(text)
    steps: list[str | int | None] = []
    place = 0
    while place < len(rest):
        found = _STEP.match(rest, place)
        if not found or len(steps) == MOST_STEPS:
            raise InvalidRequest(f"extract: {text[:100]!r} is not a path", hint=_FORM)
        steps.append(_step(found))
        place = found.end()
    return Path(root, tuple(steps))


def parse_paths(wanted: Mapping[str, str]) -> dict[str, Path]:
    """Read `{alias: path}`. Raises InvalidRequest."""
    if len(wanted) > MOST_PATHS:
        raise InvalidRequest(f"extract: at most {MOST_PATHS} paths, got {len(wanted)}")
    for alias in wanted:
        if not _ALIAS.fullmatch(alias):
            raise InvalidRequest(f"extract: {alias[:100]!r} is not a name", hint="letters, digits and underscores, e.g. last_message")
    return {alias: parse_path(text) for alias, text in wanted.items()}


def _split_root(text: str) -> tuple[str, str]:
    root = next((root for root in ROOTS if text == root or text.startswith((f"{root}.", f"{root}["))), None)
    if root is None:
        raise InvalidRequest(f"extract: {text[:100]!r} must begin with one of {', '.join(ROOTS)}", hint=_FORM)
    return root, text[len(root) :]


def _step(found: re.Match[str]) -> str | int | None:
    if found["all"]:
        return None
    if found["index"]:
        return int(found["index"])
    return found["key"] or found["quoted"]


def _shown(step: str | int | None) -> str:
    if step is None:
        return "[*]"
    if isinstance(step, int):
        return f"[{step}]" if step >= 0 else f"[last - {-step - 1}]"
    return "." + json.dumps(step)
