"""`freehold ingest`, `search` and `knowledge`: documents of the stack of this folder, or of the database in DATABASE_URL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli import output
from freehold.config import env, paths
from freehold.config.load import load
from freehold.config.settings import Settings
from freehold.core.caller import LOCAL, Caller
from freehold.core.errors import InvalidRequest, Unauthenticated
from freehold.core.progress import Silent
from freehold.targets.native.connections import connections

if TYPE_CHECKING:  # loaded when a command runs: `--help` must not wait for a model runtime
    from freehold.rag.ingest import Finding, IngestReport
    from freehold.rag.knowledge import Knowledge
    from freehold.rag.retrieve import Passage
    from freehold.storage.pool import Pool

_POOL_SIZE = 4
_EXCERPT_CHARACTERS = 500

Config = Annotated[Path | None, typer.Option("--config", help="A freehold.toml; default: the one in this folder, where there is one.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True)
class _Session:
    knowledge: Knowledge
    caller: Caller
    settings: Settings


async def ingest(
    files: Annotated[list[Path] | None, typer.Argument(metavar="PATH...", help="Files and folders: PDF, Markdown, HTML, text.")] = None,
    sample: Annotated[bool, typer.Option("--sample", help="Ingest the sample document that Freehold ships.")] = False,
    config: Config = None,
    json: Json = False,
) -> int:
    """Read documents into the knowledge base; unchanged files are skipped, changed ones replaced, vanished ones dropped."""
    if not files and not sample:
        raise InvalidRequest("nothing to ingest", hint="`freehold ingest FOLDER`, or `freehold ingest --sample` to try it out")
    report = None
    async with _session(config, json=json) as session:
        if sample:
            report = await session.knowledge.ingest_sample(session.caller, output.progress(json))
        if files:
            report = _joined(report, await session.knowledge.ingest(files, session.caller, output.progress(json)))
    if report is None:
        return 0
    output.emit(asdict(report), lambda: _summary(report), json=json)
    if not json:
        _show_findings(report)
    return 1 if report.failed else 0


async def search(
    question: Annotated[str, typer.Argument(help="What to look for, in your own words.")],
    top_k: Annotated[int | None, typer.Option("-k", "--top-k", min=1, max=100, help="Passages to show (knowledge.top_k).")] = None,
    min_score: Annotated[
        float | None, typer.Option("--min-score", min=-1, max=1, help="Cosine similarity to reach (knowledge.min_score).")
    ] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Search the knowledge base by meaning."""
    async with _session(config, json=json) as session:
        threshold = session.settings.knowledge.min_score if min_score is None else min_score
        await session.knowledge.warm()
        started = time.perf_counter()
        nearest = await session.knowledge.retrieve(question, session.caller, top_k=top_k, min_score=-1)
        seconds = time.perf_counter() - started
        found = [passage for passage in nearest if passage.score >= threshold]
        advice = "" if found else await _advice(session, nearest, threshold)
    data = {"question": question, "results": [asdict(passage) for passage in found], "min_score": threshold, "seconds": round(seconds, 4)}
    output.emit(data, lambda: "\n\n".join(map(_shown, found)) if found else "Nothing relevant was found.", json=json)
    if advice and not json:
        output.say(advice)


knowledge_app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)


@knowledge_app.callback()
def knowledge() -> None:
    """What is in the knowledge base: list, rm."""


@knowledge_app.command("list")
def list_documents(config: Config = None, json: Json = False) -> None:
    """Show the documents that were ingested."""
    asyncio.run(_list(config, json=json))


@knowledge_app.command("rm")
def remove_documents(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Source, path or id of a document, or a folder of them.")],
    config: Config = None,
    json: Json = False,
) -> None:
    """Forget documents; the files themselves are not touched."""
    asyncio.run(_remove(names, config, json=json))


async def _list(config: Path | None, *, json: bool) -> None:
    async with _session(config, json=json) as session:
        documents = await session.knowledge.documents(session.caller)
    rows = [(item.source, str(item.chunks), output.size(item.bytes), f"{item.updated_at:%Y-%m-%d %H:%M}", item.path) for item in documents]
    human = output.table(rows, ("source", "chunks", "size", "ingested", "path")) if rows else "No documents yet."
    output.emit([asdict(item) for item in documents], human, json=json)
    if not documents and not json:
        output.say("`freehold ingest FOLDER` reads some; `freehold ingest --sample` reads the sample document")


async def _remove(names: list[str], config: Path | None, *, json: bool) -> None:
    async with _session(config, json=json) as session:
        removed = [source for name in names for source in await session.knowledge.remove(name, session.caller)]
    output.emit({"removed": removed}, f"removed {', '.join(removed)}", json=json)


@asynccontextmanager
async def _session(config: Path | None, *, json: bool) -> AsyncIterator[_Session]:
    from freehold.rag.embed import embedder_loader
    from freehold.rag.knowledge import Knowledge
    from freehold.storage.pool import create_pool

    env.set_process_defaults()
    settings = load(config).settings
    url, key = _reach(settings)
    loader = embedder_loader(settings.knowledge.embedding_model, paths.cache(), Silent() if json else output.progress())
    async with create_pool(url, max_size=_POOL_SIZE, name="freehold-cli") as pool:
        knowledge = Knowledge(pool, loader, settings.knowledge)
        try:
            yield _Session(knowledge, await _caller(pool, settings, key), settings)
        finally:
            knowledge.close()


def _reach(settings: Settings) -> tuple[str, str | None]:
    """The database's URL and the caller's API key, where there is one."""
    key = env.get("FREEHOLD_API_KEY")
    if settings.database.url:
        return settings.database.url.get_secret_value(), key
    found = connections()
    return found.database_url, key or found.api_key


async def _caller(pool: Pool, settings: Settings, key: str | None) -> Caller:
    """Whose documents these are: those of the key that `ask` and `chat` would send, too."""
    from freehold.storage.api_keys import ApiKeys

    if not settings.server.needs_keys:
        return LOCAL
    caller = await ApiKeys(pool).caller(key) if key else None
    if caller is None:
        raise Unauthenticated("documents belong to the owner of an API key", hint="set FREEHOLD_API_KEY; `freehold keys create` makes one")
    return caller


def _joined(first: IngestReport | None, second: IngestReport) -> IngestReport:
    from freehold.rag.ingest import IngestReport

    if first is None:
        return second
    one, other = vars(first), vars(second)
    return IngestReport(**{name: one[name] + other[name] for name in one})


def _summary(report: IngestReport) -> str:
    counts = [(len(getattr(report, name)), name) for name in ("added", "updated", "unchanged", "removed", "failed")]
    text = ", ".join(f"{count} {name}" for count, name in counts if count) or "no documents found"
    skipped = f" ({report.skipped} other files skipped)" if report.skipped else ""
    chunks = f": {report.chunks} chunk{'' if report.chunks == 1 else 's'} in {report.seconds:.1f} s" if report.chunks else ""
    return f"{text}{skipped}{chunks}"


def _show_findings(report: IngestReport) -> None:
    for finding in report.notes:
        output.say(_finding("note:", "33", finding))
    for finding in report.failed:
        output.say(_finding("failed:", "1;31", finding))
        if finding.hint:
            output.say(f"  {output.paint('hint:', '36')} {finding.hint}")
    if report.added or report.updated:
        output.say('try: freehold search "..." or freehold ask "..."')


def _finding(label: str, style: str, finding: Finding) -> str:
    return f"{output.paint(label, style)} {finding.source} {finding.reason}"


def _shown(passage: Passage) -> str:
    place = (
        passage.source
        + (f", page {passage.page}" if passage.page is not None else "")
        + (f" · {passage.heading}" if passage.heading else "")
    )
    content = passage.content if len(passage.content) <= _EXCERPT_CHARACTERS else passage.content[: _EXCERPT_CHARACTERS - 1] + "…"
    return f"{passage.score:.2f}  {place}\n" + "\n".join(f"      {line}" for line in content.splitlines())


async def _advice(session: _Session, nearest: list[Passage], threshold: float) -> str:
    if nearest:
        best = nearest[0]
        return (
            f"the nearest passage, in {best.source}, scores {best.score:.2f}; {threshold:.2f} is needed (--min-score, knowledge.min_score)"
        )
    counts = await session.knowledge.counts(session.caller)
    if counts.other_model:
        return "the documents were ingested with another embedding model; ingest them again"
    return "the knowledge base is empty: `freehold ingest FOLDER`, or `freehold ingest --sample`"
