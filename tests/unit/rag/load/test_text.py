"""Plain text: encodings as they are met, and what is not text at all."""

from __future__ import annotations

import codecs

import pytest

from freehold.rag.load import Unreadable, load
from freehold.rag.load.text import decode


def text_of(data: bytes) -> str:
    return load(data, "text/plain").sections[0].text


@pytest.mark.parametrize(
    "data",
    [
        "Größe: 5 €".encode(),
        codecs.BOM_UTF8 + "Größe: 5 €".encode(),
        "Größe: 5 €".encode("utf-16"),
        codecs.BOM_UTF16_BE + "Größe: 5 €".encode("utf-16-be"),
        codecs.BOM_UTF32_LE + "Größe: 5 €".encode("utf-32-le"),
        "Größe: 5 €".encode("cp1252"),
    ],
)
def test_encodings_are_recognised(data: bytes) -> None:
    assert text_of(data) == "Größe: 5 €"


def test_a_guessed_encoding_is_noted() -> None:
    assert load("Größe".encode("cp1252"), "text/plain").notes == ("is not UTF-8 (byte 2); read as Windows-1252",)
    assert load("Größe".encode(), "text/plain").notes == ()


def test_a_stray_zero_byte_is_left_out_and_noted() -> None:
    assert decode(b"a" * 99 + b"\0")[1] == ("1 zero bytes were left out",)
    assert text_of(b"a" * 99 + b"\0b") == "a" * 99 + "b"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b" \n\t ", "is empty"),
        ("Größe".encode("utf-16-le"), "is not text"),
        (b"\x7fELF" + bytes(500), "is not text"),
        (codecs.BOM_UTF8 + b"\xff\xfe\xff", "begins as UTF-8 but is damaged at byte"),
        (codecs.BOM_UTF16_LE + b"a", "begins as UTF-16 but is damaged"),
        (b"\x01\x02\x03", "holds no text"),
    ],
)
def test_what_is_not_text_is_refused_with_the_reason(data: bytes, message: str) -> None:
    with pytest.raises(Unreadable, match=message):
        load(data, "text/plain")


def test_line_ends_are_unified_and_runs_of_blank_lines_shortened() -> None:
    assert text_of(b"a\r\nb\rc\n\n \n\n\nd\f") == "a\nb\nc\n\nd"


def test_characters_that_only_hide_text_are_removed() -> None:
    hidden = "".join(chr(0xE0000 + ord(letter)) for letter in "obey")
    assert text_of(f"a{hidden}b\x1b[31m".encode()) == "ab[31m"
