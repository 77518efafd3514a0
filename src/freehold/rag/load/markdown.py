"""Markdown: sections under their headings. Code fences, front matter and comments are told apart from text."""

from __future__ import annotations

import re

from freehold.rag.load.base import Loaded, Outline
from freehold.rag.load.text import decode

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_FRONT_TITLE = re.compile(r"^title:[ \t]*(.+?)[ \t]*$", re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)  # invisible where Markdown is shown, so a place to hide instructions in
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")


def load(data: bytes) -> Loaded:
    """Sections with heading paths; the title is that of the front matter, else the first heading of level 1."""
    text, notes = decode(data)
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    title = None
    if front := _FRONT_MATTER.match(text):
        found = _FRONT_TITLE.search(front[1])
        title = found[1].strip("\"'") if found else None
        text = text[front.end() :]
    outline = Outline()
    _read(text, outline)
    return outline.loaded(*notes, title=title)


def _read(text: str, outline: Outline) -> None:
    pending: list[str] = []
    fence = ""
    for line in text.split("\n"):
        if fence:
            pending.append(line)
            if (closing := _FENCE.fullmatch(line)) and closing[1].startswith(fence) and not closing[2].strip():
                fence = ""
        elif (opening := _FENCE.fullmatch(line)) and "`" not in opening[2]:
            fence = opening[1]
            pending.append(line)
        elif heading := _HEADING.fullmatch(line):
            _flush(pending, outline)
            outline.heading(len(heading[1]), heading[2] or "")
        elif (rule := _UNDERLINE.fullmatch(line)) and _is_lone_line(pending):
            title = pending.pop()
            _flush(pending, outline)
            outline.heading(1 if rule[1][0] == "=" else 2, title)
        else:
            pending.append(line)
    _flush(pending, outline)


def _is_lone_line(pending: list[str]) -> bool:
    # "Title" over "=====": one line of text after a blank one, not the end of a paragraph, list, quote or table.
    return bool(pending and pending[-1].strip() and not pending[-1].lstrip().startswith(("-", "*", ">", "|", "+"))) and (
        len(pending) == 1 or not pending[-2].strip()
    )


def _flush(pending: list[str], outline: Outline) -> None:
    outline.text(_COMMENT.sub("", "\n".join(pending)))
    pending.clear()
