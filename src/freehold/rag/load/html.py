"""HTML: what a reader sees of the page, in sections under its headings."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bs4 import BeautifulSoup
from bs4.element import CData, NavigableString, Tag

from freehold.rag.load.base import Loaded, Outline, Unreadable

#: Never part of what the page says.
_SKIPPED = frozenset(
    re.findall(r"\w+", "script style nav noscript template svg math iframe object canvas head button select textarea form dialog")
)
_BLOCKS = frozenset(
    re.findall(
        r"\w+",
        """address article aside blockquote body caption dd details div dl dt fieldset figcaption figure footer header hr li main ol p
        pre section summary table tbody tfoot thead tr ul""",
    )
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_HIDDEN_STYLE = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0(?:px|pt|em|rem|%)?\s*(?:;|$))", re.IGNORECASE)
_SPACES = re.compile(r"[ \t\r\n\xa0]+")

#: Markup over text: past it the tree costs more memory than any page is worth.
_MAX_TAGS = 500_000


def load(data: bytes) -> Loaded:
    """Sections with heading paths; text that the page hides is left out, as nobody who checks the page would see it."""
    if data.count(b"<") > _MAX_TAGS:
        raise Unreadable(f"has more than {_MAX_TAGS:,} tags", hint="save the text of the page")
    soup = BeautifulSoup(data, "html.parser")  # finds the encoding from marks and meta tags
    outline = Outline()
    pending: list[str] = []
    for event, tag, text in _walk(soup):
        if event == "text":
            pending.append(text)
        elif event == "open" and tag in _HEADINGS:
            _flush(pending, outline)
        elif event == "close" and tag in _HEADINGS:
            outline.heading(_HEADINGS[tag], _SPACES.sub(" ", "".join(pending)))
            pending.clear()
        else:
            pending.append(_break(tag))
    _flush(pending, outline)
    title = soup.title.get_text(" ", strip=True) if soup.title else None
    notes = ("some characters could not be decoded",) if soup.contains_replacement_characters else ()
    return outline.loaded(*notes, title=outline.title or title)


def _walk(soup: BeautifulSoup) -> Iterator[tuple[str, str, str]]:
    # With a stack of its own: pages nested a thousand deep exist, and recursion ends at a thousand.
    stack: list[Tag | NavigableString | str] = [soup]
    preformatted = 0
    while stack:
        node = stack.pop()
        if isinstance(node, Tag):
            if node.name in _SKIPPED or _is_hidden(node):
                continue
            if node.name != soup.name:
                preformatted += node.name == "pre"
                yield "open", node.name, ""
                stack.append(node.name)  # met again when all its children are done
            stack.extend(child for child in reversed(node.contents) if isinstance(child, (Tag, NavigableString)))
        elif isinstance(node, NavigableString):
            if type(node) in (NavigableString, CData):  # comments and declarations are subclasses
                yield "text", "", str(node) if preformatted else _SPACES.sub(" ", node)
        else:
            preformatted -= node == "pre"
            yield "close", node, ""


def _is_hidden(tag: Tag) -> bool:
    return tag.has_attr("hidden") or tag.get("aria-hidden") == "true" or _HIDDEN_STYLE.search(str(tag.get("style") or "")) is not None


def _break(tag: str) -> str:
    if tag in {"td", "th"}:
        return " | "
    if tag in {"li", "tr", "br", "dt", "dd"}:
        return "\n"
    return "\n\n" if tag in _BLOCKS else ""


def _flush(pending: list[str], outline: Outline) -> None:
    lines = (line.strip(" \t") for line in "".join(pending).split("\n"))
    outline.text("\n".join(re.sub(r"(?:^\|\s*|\s*\|$)", "", re.sub(r"(?:\s*\|\s*){2,}", " | ", line)) for line in lines))
    pending.clear()
