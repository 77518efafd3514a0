"""`freehold init`: a new agent project, small enough to read in a minute and complete enough to serve."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from freehold.cli import output
from freehold.core.errors import Conflict, InvalidRequest

#: File in the template -> file in the project.
_FILES = {
    "agent.py.txt": "agent.py",
    "langgraph.json.txt": "langgraph.json",
    "freehold.toml.txt": "freehold.toml",
    "gitignore.txt": ".gitignore",
    "README.md.txt": "README.md",
}


def init(
    folder: Annotated[Path, typer.Argument(help="Folder of the new project; made if it does not exist.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make a new agent project."""
    name = folder.resolve().name
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise InvalidRequest(f"{name!r} cannot name an agent", hint="use letters, digits, hyphens and underscores, beginning with a letter")
    taken = [target for target in _FILES.values() if (folder / target).exists()]
    if taken:
        raise Conflict(f"{folder} already has {', '.join(taken)}", hint="choose another folder; nothing was written")
    folder.mkdir(parents=True, exist_ok=True)
    template = files("freehold.cli") / "template"
    for source, target in _FILES.items():
        (folder / target).write_text((template / source).read_text(encoding="utf-8").replace("{{name}}", name), encoding="utf-8")
    steps = ([f"cd {folder}"] if folder.resolve() != Path.cwd() else []) + ["freehold dev"]
    output.emit(
        {"folder": str(folder), "files": sorted(_FILES.values()), "next": steps},
        "\n".join([f"{folder} is ready: {', '.join(sorted(_FILES.values()))}", "", "Try:", *(f"  {step}" for step in steps)]),
        json=json,
    )
