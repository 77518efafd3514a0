"""The page people see at `/`: what runs here and what to try, in one self-contained document."""

from __future__ import annotations

from freehold.server.parts import ServerParts


def home_page(parts: ServerParts) -> str:
    """The page as HTML."""
    return "<!doctype html>"
