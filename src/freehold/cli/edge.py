"""`freehold edge`: names and passwords, where edge.auth is "basic"."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from freehold.cli import output

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def edge() -> None:
    """The edge: names and passwords, where edge.auth is "basic"."""


@app.command()
def user(
    name: Annotated[str, typer.Argument(help="Who it is for; an existing one gets a new password.")],
    file: Annotated[Path, typer.Option("--file", help="The file that edge.users names.")] = Path("edge.users"),
    remove: Annotated[bool, typer.Option("--remove", help="Take the name out instead.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a name and a new password into a file of hashed passwords, and print the password, this once."""
    from freehold.operate.certificates.passwords import change

    password = change(file, name, remove=remove)
    if password is None:
        output.emit({"name": name, "file": str(file), "removed": True}, f"{name} was taken out of {file}", json=json)
    else:
        output.emit({"name": name, "file": str(file), "password": password}, f"{password}\nIt is shown this once.", json=json)
    output.say("It counts from the next start, or `freehold certificate renew`.")
