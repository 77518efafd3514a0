"""`freehold keys`: API keys of the running stack, or of the database in DATABASE_URL. A key is shown once, when it is made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from uuid import UUID

import typer

from freehold.cli import output
from freehold.core.errors import InvalidRequest

if TYPE_CHECKING:
    from freehold.storage.api_keys import ApiKey, ApiKeys

T = TypeVar("T")

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Config = Annotated[Path | None, typer.Option("--config", help="A freehold.toml; default: the one in this folder.")]
KeyId = Annotated[str, typer.Argument(help="Id from `freehold keys list`.")]

_ONCE = "It is shown this once. Send it as `x-api-key` or `Authorization: Bearer`."


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for, e.g. a person or a program.")],
    owner: Annotated[
        str | None, typer.Option(help="Who acts with it; threads and documents belong to this owner. Default: the name.")
    ] = None,
    organisation: Annotated[str, typer.Option(help="The owner's organisation; nothing is shared between two of them.")] = "local",
    scope: Annotated[
        list[str] | None,
        typer.Option(help='What it may do: read, run, write (the default), admin, or e.g. "threads:read". May be given several times.'),
    ] = None,
    expires: Annotated[str | None, typer.Option(metavar="AGE", help='Works this long, e.g. "90d". Default: until it is revoked.')] = None,
    config: Config = None,
    json: AsJson = False,
) -> None:
    """Make a key and print it, this once."""
    from freehold.storage.api_keys import generate

    scopes = _scopes(scope or ["write"])
    lifetime = _age("--expires", expires) if expires else None
    if lifetime is not None and not lifetime:
        raise InvalidRequest('--expires: expected an age above zero such as "90d"')
    key, whose = generate(), owner or name
    for value, what in ((name, "NAME"), (whose, "--owner"), (organisation, "--organisation")):
        if not value.strip() or "\x00" in value:
            raise InvalidRequest(f"{what}: expected a name")
    key_id = _with_keys(
        config, lambda keys: keys.add(key, name=name, owner=whose, organisation=organisation, scopes=scopes, lifetime=lifetime)
    )
    data = {"key_id": key_id, "name": name, "owner": whose, "organisation": organisation, "scopes": scopes, "expires": expires, "key": key}
    output.emit(data, f"{key}\n{_ONCE}", json=json)


@app.command("list")
def list_keys(config: Config = None, json: AsJson = False) -> None:
    """All keys, newest first; never the keys themselves."""
    found = _with_keys(config, lambda keys: keys.list())
    output.emit([_shown(key) for key in found], lambda: _table(found) if found else "no keys yet: `freehold keys create NAME`", json=json)


@app.command()
def rotate(
    key_id: KeyId,
    grace: Annotated[str, typer.Option(metavar="AGE", help='How long the old key goes on working, e.g. "24h"; "0h": not at all.')] = "24h",
    config: Config = None,
    json: AsJson = False,
) -> None:
    """Make another key with the same owner and scopes; the old one works for a while longer."""
    from freehold.storage.api_keys import generate

    key, wanted, pause = generate(), _id(key_id), _age("--grace", grace)
    made = _with_keys(config, lambda keys: keys.rotate(wanted, key, grace=pause))
    output.emit({**_shown(made), "replaces": key_id, "key": key}, f"{key}\n{_ONCE} The old one works for {grace}.", json=json)


@app.command()
def revoke(key_id: KeyId, config: Config = None, json: AsJson = False) -> None:
    """End a key; within seconds nobody gets in with it."""
    wanted = _id(key_id)
    _with_keys(config, lambda keys: keys.revoke(wanted))
    output.emit({"key_id": key_id, "state": "revoked"}, f"{key_id} is revoked", json=json)


def _with_keys(config: Path | None, action: Callable[[ApiKeys], Awaitable[T]]) -> T:
    from freehold.config.load import load
    from freehold.storage.api_keys import ApiKeys
    from freehold.storage.pool import create_pool
    from freehold.targets.native.connections import connections

    async def work() -> T:
        own = load(config).settings.database.url
        url = own.get_secret_value() if own else connections().database_url
        async with create_pool(url, max_size=2, name="freehold-keys") as pool:
            return await action(ApiKeys(pool))

    return asyncio.run(work())


def _scopes(asked: list[str]) -> list[str]:
    from freehold.core.permissions import checked

    try:
        return [checked(scope) for scope in asked]
    except ValueError as error:
        raise InvalidRequest(f"--scope: {error}") from error


def _age(option: str, text: str) -> timedelta:
    from freehold.core.age import parse_age

    try:
        return parse_age(text)
    except ValueError as error:
        raise InvalidRequest(f"{option}: {error}") from error


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise InvalidRequest(f"{text} is not the id of a key", hint="`freehold keys list` shows the ids") from error


def _shown(key: ApiKey) -> dict[str, Any]:
    times = {name: moment.isoformat() for name, moment in asdict(key).items() if isinstance(moment, datetime)}
    return {**{name: value for name, value in asdict(key).items() if name != "expired"}, **times, "state": key.state}


def _table(found: list[ApiKey]) -> str:
    rows = [
        (
            str(key.key_id),
            key.name,
            key.owner,
            " ".join(key.scopes),
            _day(key.created_at),
            _day(key.last_used_at),
            _day(key.expires_at),
            key.state,
        )
        for key in found
    ]
    return output.table(rows, ("id", "name", "owner", "scopes", "created", "last used", "expires", "state"))


def _day(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d}" if moment else "-"
