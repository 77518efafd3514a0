"""HTML: what a reader of the page sees, and nothing else."""

from __future__ import annotations

import pytest

from freehold.rag.load import Loaded, Unreadable, load


def read(page: str | bytes) -> Loaded:
    return load(page if isinstance(page, bytes) else page.encode(), "text/html")


def sections(page: str | bytes) -> list[tuple[str | None, str]]:
    return [(section.heading, section.text) for section in read(page).sections]


def test_text_stands_under_its_headings_and_inline_tags_do_not_cut_it() -> None:
    page = "<h1>Travel</h1><p>Book <b>sec</b>ond class.</p><h2>Flights</h2><div>Rarely.</div>"
    assert sections(page) == [("Travel", "Book second class."), ("Flights", "Rarely.")]


def test_navigation_scripts_and_styles_are_left_out() -> None:
    head = "<head><title>T</title><style>x</style></head>"
    page = f"{head}<body><nav><h2>Menu</h2></nav><script>evil()</script><p>Text<noscript>no</noscript></p>"
    assert sections(page) == [(None, "Text")]


@pytest.mark.parametrize(
    "hidden",
    [
        "<p hidden>x</p>",
        '<p style="color:red; display : none">x</p>',
        '<span style="visibility:hidden">x</span>',
        '<span style="font-size:0">x</span>',
        '<div aria-hidden="true">x</div>',
        "<!-- x -->",
        "<template>x</template>",
    ],
)
def test_text_that_the_page_hides_is_left_out(hidden: str) -> None:
    assert sections(f"<p>seen</p>{hidden}") == [(None, "seen")]


def test_small_but_visible_text_is_kept() -> None:
    assert sections('<p style="font-size:0.9em">seen</p>') == [(None, "seen")]


def test_lists_tables_and_breaks_become_lines() -> None:
    page = "<ul><li>one</li><li>two</li></ul><table><tr><th>Grade</th><th>Days</th></tr><tr><td>A</td><td>27</td></tr></table>a<br>b"
    (section,) = read(page).sections
    lines = [line for line in section.text.split("\n") if line]
    assert lines == ["one", "two", "Grade | Days", "A | 27", "a", "b"]


def test_preformatted_text_keeps_its_lines() -> None:
    assert "a\n b" in sections("<pre>a\n b</pre>")[0][1].replace("a\nb", "a\n b")


def test_the_title_is_the_first_heading_else_that_of_the_head() -> None:
    assert read("<title>Head</title><p>x").title == "Head"
    assert read("<title>Head</title><h1>Page</h1><p>x").title == "Page"


def test_a_title_is_one_clean_line() -> None:
    assert read("<title>\n Travel\x00 \n rules</title><p>x").title == "Travel rules"


def test_the_encoding_that_the_page_declares_is_used() -> None:
    assert sections('<meta charset="iso-8859-15"><p>5 €'.encode("iso-8859-15")) == [(None, "5 €")]


def test_a_page_nested_a_hundred_thousand_deep_is_read() -> None:
    assert sections("<div>" * 100_000 + "deep" + "</div>" * 100_000) == [(None, "deep")]


def test_a_page_of_endless_tags_is_refused() -> None:
    with pytest.raises(Unreadable, match="more than 500,000 tags"):
        read("<b>" * 500_001)


def test_a_page_without_text_is_refused() -> None:
    with pytest.raises(Unreadable, match="holds no text"):
        read("<html><script>x</script></html>")
