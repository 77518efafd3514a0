"""`freehold prune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli import output

if TYPE_CHECKING:
    from freehold.operate.prune import PruneReport


async def prune(
    older_than: Annotated[str, typer.Option(metavar="AGE", help='What is old, e.g. "12h", "30d" or "8w".')] = "30d",
    keep_latest: Annotated[
        bool,
        typer.Option(
            "--keep-latest/--whole-threads",
            help="Remove old checkpoints but each thread's newest, so that every conversation goes on; or remove threads that nothing "
            "has happened on for so long, with their state, runs and chat turns.",
        ),
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before whole threads are removed.")] = False,
    config: Annotated[Path | None, typer.Option("--config", help="A freehold.toml; default: the one in this folder.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make the database smaller: remove old checkpoints, with the messages and values that nothing else refers to.

    A thread with a run that waits or is executed is left alone. Runs are kept as the record of what happened; only with
    --whole-threads they go with their thread. Works on the stack of this folder, or on the database in DATABASE_URL; the workers do
    it by schedule where [retention] in freehold.toml says so.
    """
    from freehold.config.load import load
    from freehold.core.age import parse_age
    from freehold.core.errors import InvalidRequest
    from freehold.operate.prune import prune as prune_all
    from freehold.storage.pool import create_pool
    from freehold.storage.retention import Policy
    from freehold.targets.native.connections import connections

    try:
        policy = Policy(parse_age(older_than), whole_threads=not keep_latest)
    except ValueError as error:
        raise InvalidRequest(f"--older-than: {error}") from error
    if policy.whole_threads and not dry_run and not yes:
        if not output.can_ask():
            raise InvalidRequest(
                "whole threads are removed for good and nobody can be asked", hint="add --yes if that is meant, or --dry-run"
            )
        typer.confirm(f"Remove every thread that nothing has happened on for {older_than}, with its runs?", abort=True, err=True)
    own = load(config).settings.database.url
    url = own.get_secret_value() if own else connections().database_url
    async with create_pool(url, max_size=2, name="freehold-prune") as pool:
        report = await prune_all(pool, policy, output.progress(json), dry_run=dry_run)
    data = {
        "older_than": older_than,
        "keep_latest": keep_latest,
        "dry_run": dry_run,
        "removed": output.plain(report.removed),
        "busy_threads": report.busy_threads,
        "checkpoint_bytes": report.checkpoint_bytes,
    }
    output.emit(data, lambda: _summary(report, policy.whole_threads, dry_run=dry_run), json=json)
    if not json and report.removed.threads and not dry_run:
        output.say("the room is used for what comes next; `VACUUM FULL` on the thread_* tables would give it back to the disk")


def _summary(report: PruneReport, whole_threads: bool, *, dry_run: bool) -> str:
    removed = report.removed
    verb = "would remove" if dry_run else "removed"
    parts = [_count(getattr(removed, name), name) for name in ("checkpoints", "writes", "messages")] + [_count(removed.blobs, "values")]
    what = f"{', '.join(parts[:-1])} and {parts[-1]}"
    if not any((removed.threads, removed.checkpoints, removed.writes)):
        lines = ["nothing to remove"]
    elif whole_threads:
        lines = [f"{verb} {_count(removed.threads, 'threads')} with {what}"]
    else:
        lines = [f"{verb} {what} of {_count(removed.threads, 'threads')}"]
    if report.busy_threads:
        lines.append(f"left alone because they are in use: {_count(report.busy_threads, 'threads')}")
    lines.append(f"checkpoint tables: {output.size(report.checkpoint_bytes)}")
    return "\n".join(lines)


def _count(number: int, plural: str) -> str:
    return f"{number} {plural.removesuffix('s') if number == 1 else plural}"
