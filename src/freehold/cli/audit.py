"""`freehold audit`: who did what on this stack, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli import output

if TYPE_CHECKING:
    from freehold.storage.audit import AuditEntry


async def audit(
    owner: Annotated[str | None, typer.Option(help="Only what this owner did.")] = None,
    action: Annotated[str | None, typer.Option(help='Only this action, e.g. "threads.delete", or resource, e.g. "threads".')] = None,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help='Only what is younger: an age, e.g. "24h", or a time, e.g. "2026-11-21T10:00:00Z".')
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="So many entries at most.")] = 100,
    config: Annotated[Path | None, typer.Option("--config", help="A freehold.toml; default: the one in this folder.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Who did what, and who was refused, in all organisations; newest first.

    Works on the stack of this folder, or on the database in DATABASE_URL.
    """
    from freehold.config.load import load
    from freehold.storage.audit import AuditFilter, AuditLog
    from freehold.storage.pool import create_pool
    from freehold.targets.native.connections import connections

    wanted = AuditFilter(owner, action, _moment(since) if since else None)
    own = load(config).settings.database.url
    url = own.get_secret_value() if own else connections().database_url
    async with create_pool(url, max_size=2, name="freehold-audit") as pool:
        found = await AuditLog(pool).list_all(wanted, limit=limit)
    output.emit([{**asdict(entry), "at": entry.at.isoformat()} for entry in found], lambda: _table(found), json=json)


def _moment(text: str) -> datetime | timedelta:
    from freehold.core.age import parse_age
    from freehold.core.errors import InvalidRequest

    try:
        return parse_age(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(f'--since: expected an age such as "24h" or a time such as "2026-11-21T10:00:00Z", got "{text}"') from error
    return moment if moment.tzinfo else moment.astimezone()


def _table(found: Sequence[AuditEntry]) -> str:
    if not found:
        return "nothing was noted"
    rows = [
        (
            f"{entry.at:%Y-%m-%d %H:%M:%S}",
            entry.owner or "-",
            entry.action,
            str(entry.status),
            entry.address,
            " ".join(f"{name}={value}" for name, value in entry.objects.items()),
        )
        for entry in found
    ]
    return output.table(rows, ("at", "owner", "action", "status", "from", "what"))
