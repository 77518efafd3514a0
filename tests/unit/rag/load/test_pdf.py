"""PDF: pages with their numbers, and a clear reason where there is no text to be had."""

from __future__ import annotations

import io
import zlib

import pytest
from pypdf import PdfReader, PdfWriter
from tests.support import documents

from freehold.rag.load import Loaded, Unreadable, load, pdf


def read(data: bytes) -> Loaded:
    return load(data, "application/pdf")


def encrypted(data: bytes, password: str) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(data)))
    writer.encrypt(password, owner_password="owner", algorithm="RC4-128")
    target = io.BytesIO()
    writer.write(target)
    return target.getvalue()


def test_each_page_keeps_its_number() -> None:
    loaded = read(documents.pdf(["First page.", "Second (page).\nTwo lines."]))
    assert [(section.page, section.text) for section in loaded.sections] == [(1, "First page."), (2, "Second (page).\nTwo lines.")]


def test_pages_without_text_are_noted_and_do_not_shift_the_numbers() -> None:
    loaded = read(documents.pdf(["One.", "", "Three."]))
    assert [section.page for section in loaded.sections] == [1, 3]
    assert loaded.notes == ("1 of 3 pages hold no text (pictures, or scanned)",)


def test_the_title_of_the_file_is_used() -> None:
    assert read(documents.pdf(["x y"], trailer="/Info << /Title (Travel rules) >>")).title == "Travel rules"


def test_a_file_with_only_an_owner_password_is_read() -> None:
    assert read(encrypted(documents.pdf(["Open to all."]), "")).sections[0].text == "Open to all."


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (documents.pdf(["", ""]), "holds no text on its 2 pages: probably scanned"),
        (encrypted(documents.pdf(["Secret."]), "hush"), "is encrypted and needs a password"),
        (b"<html>not found</html>", "is not a PDF, whatever its name says"),
        (b"%PDF-1.7\n" + b"junk " * 100, "is damaged"),
        (documents.pdf(["Cut in the middle."])[:200], "is damaged|holds no text"),
    ],
)
def test_a_file_without_text_to_be_had_is_refused_with_the_reason(data: bytes, message: str) -> None:
    with pytest.raises(Unreadable, match=message):
        read(data)


def test_a_file_of_too_many_pages_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "MAX_PAGES", 2)
    with pytest.raises(Unreadable, match="has 3 pages, more than 2"):
        read(documents.pdf(["a", "b", "c"]))


def test_a_page_that_unpacks_to_a_gigabyte_does_not() -> None:
    bomb = zlib.compress(b"(x) Tj " * 20_000_000, 9)  # 140 MB
    page = documents.pdf(["Other page.", "x"])
    stream = b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(bomb), bomb)
    start = page.rindex(b"<< /Length")
    data = page[:start] + stream + page[page.index(b"endstream", start) + len(b"endstream") :]
    loaded = read(data)
    assert [section.page for section in loaded.sections] == [1]
    assert loaded.notes == ("1 of 2 pages are damaged",)
