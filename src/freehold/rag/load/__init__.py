"""From a file's bytes to text: one loader a format, chosen by the file's ending."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import PurePath
from typing import Protocol, cast

from freehold.rag.load.base import PATH_SEPARATOR, VERSION, Loaded, Section, Unreadable, clean

__all__ = ["MEDIA_TYPES", "PATH_SEPARATOR", "VERSION", "Loaded", "Section", "Unreadable", "load", "media_type"]

#: Endings that are documents, in lower case.
MEDIA_TYPES = {
    ".pdf": "application/pdf",
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".html": "text/html",
    ".htm": "text/html",
    ".xhtml": "text/html",
    ".txt": "text/plain",
    ".text": "text/plain",
    ".rst": "text/plain",
    ".adoc": "text/plain",
    ".org": "text/plain",
}

#: Module of each media type, imported on first use: parsers are slow to import and a search needs none.
_LOADERS = {"application/pdf": "pdf", "text/markdown": "markdown", "text/html": "html", "text/plain": "text"}

_MAX_TITLE_CHARACTERS = 300


class _Loader(Protocol):
    def load(self, data: bytes) -> Loaded: ...


def media_type(name: str) -> str | None:
    """The media type of a file name, None where it is no kind of document: `"Leave.PDF"` → `"application/pdf"`."""
    return MEDIA_TYPES.get(PurePath(name).suffix.lower())


def load(data: bytes, kind: str) -> Loaded:
    """The text of a file of media type `kind`.

    Raises:
        Unreadable: it is empty, damaged, encrypted, too large when unpacked, or holds no text.
    """
    if not data.strip():
        raise Unreadable("is empty")
    loader = cast(_Loader, import_module(f"{__name__}.{_LOADERS[kind]}"))
    loaded = loader.load(data)
    if not loaded.sections:
        raise Unreadable("holds no text")
    return replace(loaded, title=_title(loaded.title))


def _title(text: str | None) -> str | None:
    return " ".join(clean(text or "").split())[:_MAX_TITLE_CHARACTERS] or None
