"""Plain text, and the decoding that Markdown shares with it."""

from __future__ import annotations

import codecs

from freehold.rag.load.base import Loaded, Section, Unreadable, check_length, clean

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: its mark begins with the same two bytes
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

#: A log with a stray NUL is text; one NUL in fifty bytes is not.
_MAX_NUL_SHARE = 0.02


def load(data: bytes) -> Loaded:
    """One section; a text file has no headings we could trust."""
    text, notes = decode(data)
    cleaned = clean(text)
    check_length(len(cleaned))
    return Loaded((Section(cleaned),) if cleaned else (), None, notes)


def decode(data: bytes) -> tuple[str, tuple[str, ...]]:
    """Text of bytes in an unknown encoding, and what had to be guessed.

    Raises:
        Unreadable: it is not text.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return data.decode(encoding), ()
            except UnicodeDecodeError as error:
                raise Unreadable(
                    f"begins as {encoding.upper()} but is damaged at byte {error.start}", hint="save it again as UTF-8"
                ) from error
    zeros = data.count(0)
    if zeros > len(data) * _MAX_NUL_SHARE:
        raise Unreadable("is not text: it is full of zero bytes", hint="if it is UTF-16, save it again as UTF-8")
    notes = (f"{zeros} zero bytes were left out",) if zeros else ()
    try:
        return data.decode("utf-8"), notes
    except UnicodeDecodeError as error:
        # Windows-1252 is what such files almost always are; the bytes it leaves undefined become replacement characters.
        return data.decode("cp1252", "replace"), (*notes, f"is not UTF-8 (byte {error.start}); read as Windows-1252")
