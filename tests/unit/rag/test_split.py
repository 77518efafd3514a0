"""Chunks: their size, their overlap, and what they remember of their place."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.rag.load import Loaded, Section
from freehold.rag.split import Chunk, split


def test_each_chunk_keeps_page_heading_and_reading_order() -> None:
    loaded = Loaded((Section("One. " * 60, page=1, heading="A"), Section("Two.", page=2, heading="A > B")))
    chunks = split(loaded, size=200, overlap=20)
    assert [chunk.position for chunk in chunks] == list(range(len(chunks)))
    assert len(chunks) > 2
    assert {(chunk.page, chunk.heading) for chunk in chunks[:-1]} == {(1, "A")}
    assert chunks[-1] == Chunk(len(chunks) - 1, "Two.", 2, "A > B")


def test_neighbours_share_their_overlap() -> None:
    words = " ".join(f"word{number}" for number in range(200))
    chunks = split(Loaded((Section(words),)), size=300, overlap=60)
    for before, after in pairwise(chunks):
        assert before.content.split()[-1] in after.content.split()[:8]


def test_sentences_are_cut_at_their_ends() -> None:
    chunks = split(Loaded((Section("The first sentence is here. The second one follows. The third one ends it."),)), size=60, overlap=0)
    assert [chunk.content[-1] for chunk in chunks] == ["."] * len(chunks)


def test_a_lone_rule_is_no_chunk() -> None:
    assert split(Loaded((Section("---"), Section("text"))), size=100, overlap=10) == [Chunk(0, "text")]


def test_the_embedding_sees_the_heading_too() -> None:
    assert Chunk(0, "20 weeks.", heading="Parental leave").embedded_text == "Parental leave\n20 weeks."
    assert Chunk(0, "20 weeks.", heading="People > Time off > Parental leave").embedded_text == "Time off > Parental leave\n20 weeks."
    assert Chunk(0, "20 weeks.").embedded_text == "20 weeks."


@settings(deadline=None)
@given(text=st.text(min_size=1, max_size=600), size=st.integers(8, 200), overlap=st.integers(0, 300))
def test_no_chunk_is_longer_than_its_size_and_no_word_is_lost(text: str, size: int, overlap: int) -> None:
    chunks = split(Loaded((Section(text),)), size=size, overlap=overlap)
    assert all(0 < len(chunk.content) <= size for chunk in chunks)
    kept = "".join(chunk.content for chunk in chunks)
    assert {character for character in text if character.isalnum()} <= set(kept)
