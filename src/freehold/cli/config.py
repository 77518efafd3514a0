"""`freehold config show`: every setting, and with `--origin` where its value comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from freehold.cli import output
from freehold.config import env, load

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def config() -> None:
    """Show the configuration and where each value comes from."""


@app.command("schema")
def show_schema() -> None:
    """Print the JSON Schema of freehold.toml, which editors complete and check by."""
    from freehold.config.schema import schema

    output.emit(schema(), json=True)


@app.command()
def show(
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value comes from.")] = False,
    config: Annotated[Path | None, typer.Option("--config", help="A freehold.toml.")] = None,
    environment: Annotated[str | None, typer.Option("--env", help="Lay freehold.NAME.toml over freehold.toml.", metavar="NAME")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print every key with its value; secrets are hidden."""
    env.choose_overlay(environment)
    loaded = load.load(config)
    rows = load.rows(loaded)
    data = {
        "file": str(loaded.file) if loaded.file else None,
        "overlay": str(loaded.overlay) if loaded.overlay else None,
        "settings": {key: {"value": value, "origin": source} for key, value, source in rows},
    }
    lines = [(key, value, source) if origin else (key, value) for key, value, source in rows]
    output.emit(data, output.table(lines, ("key", "value", "origin") if origin else ("key", "value")), json=json)
