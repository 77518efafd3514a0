"""`freehold doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli import output

if TYPE_CHECKING:
    from freehold.operate.doctor import Finding

_MARKS = {"ok": ("ok  ", "32"), "warn": ("warn", "33"), "fail": ("FAIL", "1;31")}

#: The code of `Unhealthy`.
_FAILED = 5


async def doctor(
    config: Annotated[Path | None, typer.Option("--config", help="A freehold.toml.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check this machine and the stack of this folder; say what to do about each finding."""
    from freehold.config import load, paths
    from freehold.operate.doctor import examine
    from freehold.targets.native.home import Home

    findings = await examine(load.load(config), Home(paths.home()))
    failed = any(finding.level == "fail" for finding in findings)
    output.emit({"ok": not failed, "findings": [output.plain(f) for f in findings]}, lambda: "\n".join(map(_line, findings)), json=json)
    if failed:
        raise typer.Exit(_FAILED)


def _line(finding: Finding) -> str:
    import sys

    mark, style = _MARKS[finding.level]
    line = f"{output.paint(mark, style, stream=sys.stdout)}  {finding.check}: {finding.message}"
    return f"{line}\n        → {finding.todo}" if finding.todo else line
