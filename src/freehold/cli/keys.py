"""`freehold keys`: API keys of the running stack. A key is shown once, when it is made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar
from uuid import UUID

import typer

from freehold.cli import output
from freehold.core.errors import InvalidRequest

if TYPE_CHECKING:
    from freehold.storage.api_keys import ApiKeys

T = TypeVar("T")

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for, e.g. a person or a program.")],
    owner: Annotated[
        str | None, typer.Option(help="Who acts with it; threads and documents belong to this owner. Default: the name.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Make a key and print it, this once."""
    from freehold.storage.api_keys import generate

    key = generate()
    key_id = _with_keys(lambda keys: keys.add(key, name=name, owner=owner or name))
    data = {"key_id": str(key_id), "name": name, "owner": owner or name, "key": key}
    output.emit(data, f"{key}\nIt is shown this once. Send it as `x-api-key` or `Authorization: Bearer`.", json=json)


@app.command("list")
def list_keys(json: AsJson = False) -> None:
    """All keys, newest first; never the keys themselves."""
    found = _with_keys(lambda keys: keys.list())
    rows = [
        (str(key.key_id), key.name, key.owner, f"{key.created_at:%Y-%m-%d}", "revoked" if key.revoked_at else "active") for key in found
    ]
    output.emit(
        [dict(zip(("key_id", "name", "owner", "created", "state"), row, strict=True)) for row in rows],
        lambda: output.table(rows, ("id", "name", "owner", "created", "state")) if rows else "no keys yet: `freehold keys create NAME`",
        json=json,
    )


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="Id from `freehold keys list`.")], json: AsJson = False) -> None:
    """End a key; within seconds nobody gets in with it."""
    try:
        wanted = UUID(key_id)
    except ValueError as error:
        raise InvalidRequest(f"{key_id} is not the id of a key", hint="`freehold keys list` shows the ids") from error
    _with_keys(lambda keys: keys.revoke(wanted))
    output.emit({"key_id": key_id, "state": "revoked"}, f"{key_id} is revoked", json=json)


def _with_keys(action: Callable[[ApiKeys], Awaitable[T]]) -> T:
    from freehold.storage.api_keys import ApiKeys
    from freehold.storage.pool import create_pool
    from freehold.targets.native.connections import connections

    async def work() -> T:
        async with create_pool(connections().database_url, max_size=2, name="freehold-keys") as pool:
            return await action(ApiKeys(pool))

    return asyncio.run(work())
