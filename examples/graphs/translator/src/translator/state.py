"""What the graph is configured with."""

from __future__ import annotations

from typing import TypedDict


class Configuration(TypedDict, total=False):
    language: str
