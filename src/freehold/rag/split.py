"""Cuts a loaded document into the chunks that are embedded and cited; each keeps its page and the heading above it."""

from __future__ import annotations

from dataclasses import dataclass

from freehold.rag.load import PATH_SEPARATOR, Loaded

#: Raise when the same text and settings would give other chunks, so that stored documents count as changed.
VERSION = 1

#: From the best place to cut to the worst: paragraphs, lines, sentences (also CJK ones), words, anywhere.
_SEPARATORS = ["\n\n", "\n", ". ", "? ", "! ", "。", "？", "！", "; ", ", ", " ", ""]


@dataclass(frozen=True)
class Chunk:
    """A piece of a document, in reading order."""

    position: int
    content: str
    page: int | None = None
    heading: str | None = None

    @property
    def embedded_text(self) -> str:
        """What the embedding sees: a paragraph under "Parental leave" rarely repeats those words. More than two headings dilute it."""
        if not self.heading:
            return self.content
        return f"{PATH_SEPARATOR.join(self.heading.split(PATH_SEPARATOR)[-2:])}\n{self.content}"


def split(document: Loaded, *, size: int, overlap: int) -> list[Chunk]:
    """Chunks of at most `size` characters; neighbours within a section share up to `overlap`."""
    from langchain_text_splitters import RecursiveCharacterTextSplitter  # here: a search needs chunks but never splits

    splitter = RecursiveCharacterTextSplitter(
        chunk_size=size, chunk_overlap=min(overlap, size - 1), separators=_SEPARATORS, keep_separator="end", strip_whitespace=True
    )
    chunks: list[Chunk] = []
    for section in document.sections:
        for text in splitter.split_text(section.text):
            if any(character.isalnum() for character in text):  # a lone rule or bullet answers nothing
                chunks.append(Chunk(len(chunks), text, section.page, section.heading))
    return chunks
