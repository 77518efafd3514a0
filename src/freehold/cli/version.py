"""`freehold version`."""

from __future__ import annotations

import platform
from importlib.metadata import version as installed
from typing import Annotated

import typer

from freehold.cli import output


def version(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Print the version."""
    number = installed("freehold")
    data = {"version": number, "python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    output.emit(data, f"freehold {number} (Python {data['python']}, {data['platform']})", json=json)
