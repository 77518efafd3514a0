"""`freehold build`: a project as an image definition, or as a bundle of wheels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli import output
from freehold.core.errors import NotConfigured

if TYPE_CHECKING:
    from freehold.operate.build import Built


async def build(
    project: Annotated[
        Path | None, typer.Option("--project", help="A langgraph.json or its folder; default: the one in this folder.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--output", help="Folder to write to, made anew; default: build/image or build/bundle in the project.")
    ] = None,
    bundle: Annotated[bool, typer.Option("--bundle", help="Wheels that install without a network, for this kind of machine.")] = False,
    tar: Annotated[bool, typer.Option("--tar", help="With --bundle: one file as well.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make an image definition of a project, or a bundle of wheels that installs offline.

    Versions are locked with hashes. Variables of the project (`env`) and files that look like secrets are in neither.
    """
    from freehold.graphs.project import read_project
    from freehold.operate.build import build_bundle, build_image

    chosen = project or Path("langgraph.json")
    if not chosen.exists():
        raise NotConfigured(f"no project at {chosen}", hint="--project names a langgraph.json; `freehold init NAME` makes a project")
    parsed = read_project(chosen)
    folder = (to or parsed.folder / "build" / ("bundle" if bundle else "image")).resolve()
    if bundle:
        built = await build_bundle(parsed, folder, output.progress(json), archive=tar)
    else:
        built = await build_image(parsed, folder, output.progress(json))
    output.emit(output.plain(built), lambda: _human(built, bundle=bundle), json=json)


def _human(built: Built, *, bundle: bool) -> str:
    lines = [f"{built.folder} is ready, for Python {built.python}"]
    if not built.wheels_only:
        lines.append(
            "some packages have no wheel and are built where they are installed"
            if not bundle
            else "some packages had no wheel and were built"
        )
    if built.variables:
        lines.append(f"set where it runs, their values are not in it: {', '.join(built.variables)}")
    if bundle:
        lines += [f"one file: {built.archive}"] if built.archive else []
        return "\n".join([*lines, "", "Try:", f"  {built.folder}/install.sh venv"])
    image = (built.project_wheel or "freehold").removesuffix("-agents")
    return "\n".join(
        [
            *lines,
            "",
            "Try:",
            f"  docker build --tag {image} {built.folder}",
            f"  docker run -e DATABASE_URL -e REDIS_URL -p 8123:8123 {image}",
        ]
    )
