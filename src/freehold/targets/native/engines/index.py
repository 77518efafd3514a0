"""Source archives from the package index the user has configured, fetched without pip's own way of looking into them.

`pip download` runs an sdist's build backend to learn its metadata. We want one pinned file as data, so we ask the index for
it ourselves (PEP 503), at the addresses pip is configured with.
"""

from __future__ import annotations

import ast
import asyncio
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit
from urllib.request import url2pathname

from freehold.core.errors import DownloadError
from freehold.core.progress import Progress
from freehold.models.catalogue import File
from freehold.models.download import files, packages, transfer

#: How pip's help names the index it takes where none is configured; the line may be broken anywhere.
_DEFAULT_IN_HELP = re.compile(r"--index-url <url>.*?\(default\s+(https?://[^\s)]+)\)", re.DOTALL)


@dataclass(frozen=True)
class Archive:
    """A source archive of a project, pinned by its hash."""

    project: str
    file: File


@dataclass(frozen=True)
class Indexes:
    """Where pip looks, in its order."""

    pages: tuple[str, ...]
    find_links: tuple[str, ...] = ()
    certificates: str | None = None


async def configured() -> Indexes:
    """pip's own settings, from its files and its environment, as pip reports them; pip's own index where none is set."""
    try:
        pip = packages.pip()
    except DownloadError:
        return parse_settings("", None)
    settings, help_text = await asyncio.gather(_output(*pip, "config", "list"), _output(*pip, "download", "--help"))
    named = _DEFAULT_IN_HELP.search(help_text)
    return parse_settings(settings, named[1] if named else None)


async def _output(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    output, _ = await process.communicate()
    return output.decode(errors="replace")


def parse_settings(text: str, default: str | None) -> Indexes:
    """`global.index-url='https://index.example/simple'` lines → Indexes; the environment wins over a command's section over global.

    Args:
        default: the index where the settings name none.
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition("=")
        try:
            found[key.strip()] = str(ast.literal_eval(value.strip()))
        except (ValueError, SyntaxError):
            continue

    def setting(name: str) -> str:
        return next((found[key] for key in (f":env:.{name}", f"download.{name}", f"global.{name}") if found.get(key)), "")

    offline = setting("no-index").lower() in {"1", "true", "yes", "on"}
    pages = [] if offline else [setting("index-url") or default or "", *setting("extra-index-url").split()]
    return Indexes(tuple(filter(None, pages)), tuple(setting("find-links").split()), setting("cert") or None)


async def fetch(archive: Archive, target: Path, progress: Progress, indexes: Indexes | None = None) -> None:
    """Bring an archive to `target`, resumed where an earlier attempt stopped; its hash decides.

    Raises:
        DownloadError: no index has it, none answers, or its hash differs.
        OutOfSpace: the disk became full.
    """
    indexes = indexes or await configured()
    reasons: list[str] = []
    async with transfer.client(transfer.PATIENCE, certificates=indexes.certificates) as http:
        for place in (*indexes.find_links, *(f"{page.rstrip('/')}/{archive.project}/" for page in indexes.pages)):
            try:
                links = await _links(http, place)
                if url := links.get(archive.file.path):
                    return await _bring(http, url, archive, target, progress)
                reasons.append(f"{_shown(place)} does not list it")
            except DownloadError as error:
                reasons.append(error.message)
    raise DownloadError(
        f"{archive.file.path} could not be fetched: {'; '.join(reasons) or 'no package index is configured'}",
        hint="check the network and pip's index settings (`pip config list`)",
    )


async def _links(http: transfer.Client, place: str) -> Mapping[str, str]:
    """File name -> address on an index page, or in a folder."""
    folder = _local(place)
    if folder is None:
        answer = await transfer.get(http, transfer.Source(place, "the package index"))
        return parse_page(answer.text, str(answer.url))
    return await asyncio.to_thread(_links_of_folder, folder)


def _links_of_folder(folder: Path) -> Mapping[str, str]:
    page = folder / "index.html"
    if page.is_file():
        return parse_page(page.read_text(encoding="utf-8", errors="replace"), page.as_uri())
    return {path.name: path.as_uri() for path in folder.iterdir()} if folder.is_dir() else {}


def parse_page(text: str, base: str) -> dict[str, str]:
    """Links of an index page, `{"demo-1.0.tar.gz": "https://files.example/demo-1.0.tar.gz"}`."""
    reader = _Anchors()
    reader.feed(text)
    links = {}
    for reference in reader.references:
        url = urldefrag(urljoin(base, reference)).url
        links[unquote(urlsplit(url).path).rsplit("/", 1)[-1]] = url
    return links


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.references += [value for name, value in attrs if name == "href" and value]


async def _bring(http: transfer.Client, url: str, archive: Archive, target: Path, progress: Progress) -> None:
    path = _local(url)
    if path is None:
        return await transfer.bring(http, transfer.Source(url, archive.file.path), archive.file, target, progress)
    copied = target.with_name(target.name + ".part")
    await asyncio.to_thread(shutil.copyfile, path, copied)
    right = await files.verify(copied, archive.file, progress)
    copied.replace(target) if right else copied.unlink()
    if not right:
        raise DownloadError(f"{archive.file.path} in {path.parent} is not the expected file: its hash differs")


def _local(place: str) -> Path | None:
    """The path of a `file:` address or a plain path; None for an address on the network."""
    parts = urlsplit(place)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return None if parts.scheme in {"http", "https"} else Path(place)


def _shown(place: str) -> str:
    """An index's address without the credentials it may hold."""
    return urlsplit(place).hostname or place
