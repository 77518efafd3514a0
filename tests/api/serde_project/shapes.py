"""Types of the project's own."""

from __future__ import annotations

from pydantic import BaseModel


class Plan(BaseModel):
    steps: list[str]


class Other(BaseModel):
    name: str
