"""What every loader returns, whatever the format: text in sections that know their page and heading."""

from __future__ import annotations

import re
from dataclasses import dataclass

from freehold.core.errors import FreeholdError

#: Raise when a loader gives other text for the same file, so that stored documents count as changed.
VERSION = 1

#: About 20,000 chunks: more in one file is a bomb or a database dump, not a document.
MAX_CHARACTERS = 20_000_000

_MAX_HEADING_CHARACTERS = 200

PATH_SEPARATOR = " > "

#: Postgres refuses NUL; the other control characters and the invisible "tag" letters only hide text from readers.
_UNWANTED = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\U000e0000-\U000e007f]")
_LINE_END = re.compile(r"\r\n?|[\x0c\x85\u2028\u2029]")
_BLANK_LINES = re.compile(r"\n[ \t]*\n(?:[ \t]*\n)+")


class Unreadable(FreeholdError):
    """The file cannot be read as a document."""

    code = "unreadable"


@dataclass(frozen=True)
class Section:
    """A stretch of text under one heading, on one page."""

    text: str
    page: int | None = None  # of a PDF, from 1
    heading: str | None = None  # e.g. "Time off > Parental leave", without the title of the document


@dataclass(frozen=True)
class Loaded:
    """A document as text."""

    sections: tuple[Section, ...]
    title: str | None = None
    notes: tuple[str, ...] = ()  # what was odd but did not stop the loading, in words for people


def clean(text: str) -> str:
    """Text that Postgres stores and people read: no control characters, no broken surrogates, `\\n` as line end."""
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # joins surrogate pairs, replaces lone halves
    return _BLANK_LINES.sub("\n\n", _UNWANTED.sub("", _LINE_END.sub("\n", text))).strip()


def heading_path(parents: list[tuple[int, str]]) -> str | None:
    """`[(1, "Handbook"), (2, "Time off")]` → `"Handbook > Time off"`."""
    text = PATH_SEPARATOR.join(title for _, title in parents if title)
    if len(text) > _MAX_HEADING_CHARACTERS:
        return "…" + text[1 - _MAX_HEADING_CHARACTERS :]
    return text or None


class Outline:
    """Collects sections under nested headings, for formats that have them."""

    def __init__(self) -> None:
        self.sections: list[Section] = []
        self.title: str | None = None
        self._parents: list[tuple[int, str]] = []
        self._characters = 0

    def heading(self, level: int, title: str) -> None:
        """A heading of level 1 to 6: what follows stands under it."""
        title = " ".join(clean(title).split())
        self._parents = [parent for parent in self._parents if parent[0] < level] + [(level, title)]
        if level == 1 and self.title is None:
            self.title = title or None

    def text(self, text: str) -> None:
        """Text under the current heading; blank text is ignored."""
        if cleaned := clean(text):
            self._characters += len(cleaned)
            check_length(self._characters)
            self.sections.append(Section(cleaned, heading=heading_path(self._place())))

    def _place(self) -> list[tuple[int, str]]:
        # Without the title of the whole document: it tells no section from another, and in an embedding it drowns what does.
        is_below_title = len(self._parents) > 1 and self._parents[0] == (1, self.title)
        return self._parents[1:] if is_below_title else self._parents

    def loaded(self, *notes: str, title: str | None = None) -> Loaded:
        """The document; `title` where the format states one."""
        if not self.sections and self._parents:  # nothing but headings
            self.sections = [Section("\n".join(name for _, name in self._parents))]
        return Loaded(tuple(self.sections), title or self.title, notes)


def check_length(characters: int) -> None:
    """Raises Unreadable over MAX_CHARACTERS."""
    if characters > MAX_CHARACTERS:
        raise Unreadable(f"holds more than {MAX_CHARACTERS:,} characters of text", hint="split the file")
