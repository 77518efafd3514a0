"""SQL by name: each `.sql` file holds queries headed `-- name: what it does`, loaded once.

Who may touch a row is written once: `@owned` stands for the condition on a table with organisation, owner and metadata,
`@owned(t)` where that table is called t, `@mine` on one without metadata, and `@on_owned_thread(t)` on one whose rows belong to
the thread in t.thread_id. Their arguments are `Caller.arguments()`.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import LiteralString, cast

_HEADING = re.compile(r"^-- ([a-z_]+): .*$", re.MULTILINE)
_MACRO = re.compile(r"@(owned|mine|on_owned_thread)\b(?:\((\w+)\))?")

_MINE = "{t}organisation = %(organisation)s AND ({t}owner = %(owner)s OR %(shared)s)"
_CONDITIONS = {
    "mine": _MINE,
    "owned": _MINE + " AND {t}metadata @> %(must)s::jsonb",
    "on_owned_thread": _MINE
    + " AND (%(must)s = '{{}}' OR EXISTS (SELECT FROM freehold.threads of_thread"
    + " WHERE of_thread.thread_id = {t}thread_id AND of_thread.metadata @> %(must)s::jsonb))",
}


@cache
def load(noun: str) -> dict[str, LiteralString]:
    """Queries of `queries/<noun>.sql`, e.g. `load("runs")["claim"]`."""
    text = (files(__package__) / f"{noun}.sql").read_text(encoding="utf-8")
    parts = _HEADING.split(text)[1:]
    found = {name: _MACRO.sub(_condition, body.strip()) for name, body in zip(parts[::2], parts[1::2], strict=True)}
    return cast(dict[str, LiteralString], found)


def _condition(found: re.Match[str]) -> str:
    return "(" + _CONDITIONS[found[1]].format(t=f"{found[2]}." if found[2] else "") + ")"
