"""`freehold logs`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli import containers, output

if TYPE_CHECKING:
    from freehold.targets.native.home import Home

#: How often files are looked at while following.
_INTERVAL = 0.3


async def logs(
    service: Annotated[str | None, typer.Argument(help='A service, or "supervisor"; default: all.')] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on showing what is written.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 50,
) -> None:
    """What services wrote; works on a stopped stack too."""
    from freehold.config import paths
    from freehold.targets.native.home import Home
    from freehold.targets.native.logs import tail

    if containers.chosen():
        return await containers.logs(service, follow=follow, lines=lines)
    chosen = _files(Home(paths.home()), service)
    named = len(chosen) > 1
    positions = {path: path.stat().st_size for path in chosen}
    for path in chosen:
        for line in tail(path, lines):
            output.emit(None, _line(path, line, named=named))
    while follow:
        await asyncio.sleep(_INTERVAL)
        for path, position in positions.items():
            text, positions[path] = _read_on(path, position)
            for line in text.splitlines():
                output.emit(None, _line(path, line, named=named))


def _files(home: Home, service: str | None) -> list[Path]:
    from freehold.core.errors import NotConfigured, NotFound

    there = {path.stem: path for path in sorted(home.logs.glob("*.log"))} if home.logs.is_dir() else {}
    if not there:
        raise NotConfigured(f"there are no logs in {home.path}", hint="start the stack with `freehold up`")
    if service is None:
        return list(there.values())
    found = [path for name, path in there.items() if name == service or name.rpartition("-")[0] == service]
    if not found:
        raise NotFound(f'no service "{service}"', hint=f"there are {', '.join(there)}")
    return found


def _line(path: Path, line: str, *, named: bool) -> str:
    return f"{path.stem}: {line}" if named else line


def _read_on(path: Path, position: int) -> tuple[str, int]:
    """What was written since, up to the last whole line; a file that became shorter was rotated and is read from its start."""
    size = path.stat().st_size
    start = position if position <= size else 0
    with path.open("rb") as file:
        file.seek(start)
        data = file.read()
    end = data.rfind(b"\n") + 1
    return data[:end].decode(errors="replace"), start + end
