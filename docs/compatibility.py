"""The page that says what of the LangGraph API works here, written from the tests that prove it.

A test that shows an effect carries `@pytest.mark.compat(area, row, shows, refused=False)`; the marks are read from the source
of tests/api without running anything. A row is there because a test is, so the page cannot promise what nobody tries.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests" / "api"

#: Areas in the order of the page; others follow by name.
AREAS = (
    "Assistants",
    "Threads",
    "Thread state",
    "Runs",
    "Streams",
    "Event streaming",
    "Inbox",
    "People in the loop",
    "Crons",
    "Store",
    "Webhooks",
    "MCP",
    "A2A",
    "Authentication",
    "Custom auth",
    "Tenants",
    "langgraph.json",
    "System",
    "Clients",
)

#: Marks that keep a test from proving anything.
_NOT_RUN = {"skip", "skipif", "xfail"}

#: The published API (langgraph-api 0.16.7 and what langgraph-sdk 0.4.14 calls): each has a row.
ENDPOINTS = tuple(
    line
    for line in """
POST /assistants
POST /assistants/search
POST /assistants/count
GET /assistants/{}
PATCH /assistants/{}
DELETE /assistants/{}
GET /assistants/{}/graph
GET /assistants/{}/subgraphs
GET /assistants/{}/subgraphs/{}
GET /assistants/{}/schemas
POST /assistants/{}/versions
POST /assistants/{}/latest
POST /threads
GET /threads/{}
PATCH /threads/{}
DELETE /threads/{}
POST /threads/search
POST /threads/count
POST /threads/prune
POST /threads/{}/copy
GET /threads/{}/state
POST /threads/{}/state
GET /threads/{}/state/{}
POST /threads/{}/state/checkpoint
GET /threads/{}/history
POST /threads/{}/history
GET /threads/{}/storage
GET /threads/{}/stream
POST /threads/{}/runs
POST /threads/{}/runs/stream
POST /threads/{}/runs/wait
GET /threads/{}/runs
GET /threads/{}/runs/{}
DELETE /threads/{}/runs/{}
GET /threads/{}/runs/{}/join
GET /threads/{}/runs/{}/stream
POST /threads/{}/runs/{}/cancel
POST /runs
POST /runs/stream
POST /runs/wait
POST /runs/batch
POST /runs/cancel
POST /runs/crons
POST /threads/{}/runs/crons
GET /runs/crons/{}
PATCH /runs/crons/{}
DELETE /runs/crons/{}
POST /runs/crons/search
POST /runs/crons/count
PUT /store/items
GET /store/items
DELETE /store/items
POST /store/items/search
POST /store/namespaces
POST /threads/{}/commands
POST /threads/{}/stream/events
POST /mcp
POST /a2a/{}
GET /a2a/{}/.well-known/agent-card.json
GET /.well-known/agent-card.json
GET /
GET /ok
GET /info
GET /metrics
GET /docs
GET /openapi.json
POST /ui/{}
""".splitlines()
    if line
)


@dataclass(frozen=True)
class Mark:
    """One `@pytest.mark.compat` and the test that has it, e.g. `tests/api/test_threads.py::test_a_copy_goes_on_by_itself`."""

    area: str
    row: str
    shows: str
    refused: bool
    test: str
    not_run: bool


def marks(folder: Path = TESTS) -> list[Mark]:
    """Every mark of the tests in a folder, in the order of files and lines."""
    return [mark for file in sorted(folder.rglob("test_*.py")) for mark in _of_file(file, folder)]


def missing_endpoints(found: Iterable[Mark]) -> list[str]:
    """Endpoints of the published API that no row names."""
    named = {endpoint for mark in found for endpoint in endpoints(mark.row)}
    return [endpoint for endpoint in ENDPOINTS if endpoint not in named]


def endpoints(row: str) -> Iterator[str]:
    """`GET, POST /threads/{thread_id}/history?limit=` names `GET /threads/{}/history` and `POST /threads/{}/history`."""
    for methods, path in re.findall(r"((?:[A-Z]{3,}(?:, | and | or |/| ))*[A-Z]{3,}) (/[^\s,;:)`]*)", row):
        bare = re.sub(r"\{[^}]*\}", "{}", re.split(r"[?\[]", path)[0])
        yield from (f"{method} {bare}" for method in re.findall(r"[A-Z]{3,}", methods))


def page(found: Iterable[Mark]) -> str:
    """Markdown of docs/reference/compatibility.md."""
    by_area: dict[str, dict[str, list[Mark]]] = {}
    for mark in found:
        by_area.setdefault(mark.area, {}).setdefault(mark.row, []).append(mark)
    order = {area: place for place, area in enumerate(AREAS)}
    lines = [
        "<!-- Written by docs/generate.py (`make docs`) from the marks in tests/api. -->\n",
        "# What of the LangGraph API works here\n",
        "Each row is proved by a test on a running server and worker that looks at an effect, not only at a status code; the last column",
        "names it (`tests/api`). *Refused* means: the server knows it and answers with 4xx or 501 and the reason, or, where langgraph.json",
        "asks for it, does not start. Endpoints are those of langgraph-api 0.16.7 and langgraph-sdk 0.4.14.\n",
    ]
    for area in sorted(by_area, key=lambda area: (order.get(area, len(order)), area)):
        lines += [f"## {area}\n", "| what | here | shown by the test | test |", "| --- | --- | --- | --- |"]
        lines += [_line(row, some) for row, some in sorted(by_area[area].items(), key=lambda item: _sort_key(item[0]))]
        lines.append("")
    return "\n".join(lines)


def _line(row: str, some: list[Mark]) -> str:
    refused = {mark.refused for mark in some}
    status = "refused" if refused == {True} else "supported" if refused == {False} else "in part"
    told = [f"refused: {mark.shows}" if mark.refused and status == "in part" else mark.shows for mark in some]
    tests = dict.fromkeys(mark.test.rpartition("/")[2] for mark in some)
    names = " ".join(f"`{test.replace('.py::', ': ')}`" for test in tests)
    return f"| {_cell(row)} | {status} | {_cell('; '.join(dict.fromkeys(told)))} | {names} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _sort_key(row: str) -> tuple[str, str]:
    """By path, so that what belongs together stands together; rows without one come last."""
    paths = list(endpoints(row))
    return (paths[0].split(" ", 1)[1] if paths else "~", row)


def _of_file(file: Path, folder: Path) -> Iterator[Mark]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            calls = [decorator for decorator in node.decorator_list if isinstance(decorator, ast.Call)]
            not_run = any(_mark_name(decorator) in _NOT_RUN for decorator in node.decorator_list)
            for call in calls:
                if _mark_name(call) == "compat":
                    yield _mark(call, f"{file.relative_to(folder.parents[1]).as_posix()}::{node.name}", not_run=not_run)


def _mark_name(decorator: ast.expr) -> str | None:
    """`compat` of `@pytest.mark.compat(...)`."""
    function = decorator.func if isinstance(decorator, ast.Call) else decorator
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Attribute) and function.value.attr == "mark":
        return function.attr
    return None


def _mark(call: ast.Call, test: str, *, not_run: bool) -> Mark:
    try:
        area, row, shows = (str(ast.literal_eval(argument)) for argument in call.args)
        named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    except ValueError as error:
        raise ValueError(f"{test}: compat takes an area, a row and what is shown, as literal text") from error
    return Mark(area, row, shows, bool(named.get("refused", False)), test, not_run)
