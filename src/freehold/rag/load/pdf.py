"""PDF: the text of each page with its number. A PDF may be a bomb or hostile: it is parsed in a process of its own (`process.py`)."""

from __future__ import annotations

import io
import logging

from pypdf import PageObject, PdfReader
from pypdf.errors import DependencyError, PyPdfError

from freehold.rag.load.base import Loaded, Section, Unreadable, check_length, clean

#: Reading that many takes minutes; such a file is a collection.
MAX_PAGES = 5000

#: pypdf writes a line about every irregularity; what matters is in the notes.
logging.getLogger("pypdf").setLevel(logging.CRITICAL)


def load(data: bytes) -> Loaded:
    """A section a page; pages without text are noted, a file without any text is refused."""
    if b"%PDF-" not in data[:1024]:
        raise Unreadable("is not a PDF, whatever its name says")
    try:
        reader = _open(data)
        pages = len(reader.pages)
    except DependencyError as error:
        raise Unreadable("is encrypted with AES", hint="save a copy without encryption and ingest that") from error
    except PyPdfError as error:
        raise Unreadable(f"is damaged: {error}", hint="open it in a PDF reader and save it again") from error
    if pages > MAX_PAGES:
        raise Unreadable(f"has {pages} pages, more than {MAX_PAGES}", hint="split the file")
    sections, notes = _sections(reader)
    if not sections:
        raise Unreadable(f"holds no text on its {pages} pages: probably scanned", hint="run OCR over it first, e.g. with ocrmypdf")
    return Loaded(tuple(sections), _title(reader), tuple(notes))


def _open(data: bytes) -> PdfReader:
    reader = PdfReader(io.BytesIO(data), strict=False)
    if reader.is_encrypted and not reader.decrypt(""):
        raise Unreadable("is encrypted and needs a password", hint="save a copy without the password and ingest that")
    return reader


def _sections(reader: PdfReader) -> tuple[list[Section], list[str]]:
    sections: list[Section] = []
    blank = damaged = characters = 0
    for number, page in enumerate(reader.pages, start=1):
        text = _text(page)
        if text is None:
            damaged += 1
        elif not text:
            blank += 1
        else:
            characters += len(text)
            check_length(characters)
            sections.append(Section(text, page=number))
    pages = len(reader.pages)
    notes = [f"{blank} of {pages} pages hold no text (pictures, or scanned)"] if blank else []
    return sections, [*notes, f"{damaged} of {pages} pages are damaged"] if damaged else notes


def _text(page: PageObject) -> str | None:
    try:
        return clean(page.extract_text())
    except Exception:  # noqa: BLE001 - a damaged page raises anything from KeyError to RecursionError; the others are worth having
        return None


def _title(reader: PdfReader) -> str | None:
    try:
        title = reader.metadata.title if reader.metadata else None
    except PyPdfError:
        return None
    return clean(str(title)) or None if title else None
