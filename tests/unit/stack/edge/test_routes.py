"""The routes of the edge, as the how-to shows them."""

from __future__ import annotations

from pathlib import Path

from freehold.stack.edge.routes import ROUTES

PAGE = Path(__file__).parents[4] / "docs" / "how-to" / "edge.md"


def test_the_how_to_has_every_route_in_order() -> None:
    rows = [f"| `{route.path}` | {route.goal} | {route.about}{' (no key)' if route.public else ''} |" for route in ROUTES]
    text = PAGE.read_text()
    table = text[text.index("| path | goes to | for |") :].splitlines()[2 : 2 + len(rows)]
    assert table == rows
