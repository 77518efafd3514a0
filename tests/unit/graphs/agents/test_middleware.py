"""The last step of an answer: citations, "nothing found", the result of a calculation."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage

from freehold.graphs.agents.middleware import finish_answer, number_passages
from freehold.rag.cite import format_passages
from freehold.rag.retrieve import Passage
from freehold.tools.search_knowledge_base import as_artifact, passages_of

LEAVE = Passage(uuid4(), uuid4(), "handbook.md", None, "Leave", "Parental leave is 16 weeks at full pay.", 0.71)
TRAVEL = Passage(uuid4(), uuid4(), "travel.pdf", 3, None, "Trains are booked in second class.", 0.55)


def search(*passages: Passage, status: Any = "success") -> ToolMessage:
    artifact = [as_artifact(passage) for passage in passages]
    return ToolMessage(format_passages(passages), tool_call_id="1", name="search_knowledge_base", artifact=artifact, status=status)


def finish(answer: str, *between: AnyMessage) -> AIMessage:
    return finish_answer(AIMessage(answer, id="a"), [HumanMessage("question"), *between])


def test_marks_become_citations_of_the_passages() -> None:
    answer = finish("Parental leave is 16 weeks [1].", search(LEAVE))
    assert answer.text == "Parental leave is 16 weeks [Source: handbook.md]."
    (source,) = answer.additional_kwargs["sources"]
    assert source == {"chunk_id": str(LEAVE.chunk_id), "source": "handbook.md", "page": None, "heading": "Leave", "score": 0.71}
    assert answer.id == "a"


def test_a_source_the_model_made_up_is_removed() -> None:
    answer = finish("Parental leave is 16 weeks [Source: secret.pdf] [7].", search(LEAVE))
    assert "secret.pdf" not in answer.text
    assert "[7]" not in answer.text


def test_marks_of_two_searches_are_numbered_in_one_row() -> None:
    answer = finish("Second class [2].", search(LEAVE), AIMessage("", tool_calls=[]), search(TRAVEL))
    assert answer.text == "Second class [Source: travel.pdf, page 3]."


def test_an_answer_without_marks_cites_what_supports_it() -> None:
    assert finish("Parental leave is 16 weeks at full pay.", search(LEAVE)).text.endswith("[Source: handbook.md]")


def test_when_nothing_was_found_the_answer_says_so() -> None:
    answer = finish("Parental leave is two years.", search())
    assert answer.text == "I found nothing relevant to this in your documents. Parental leave is two years."
    assert "sources" not in answer.additional_kwargs


def test_an_answer_that_says_so_itself_is_left_alone() -> None:
    said = "The documents do not contain any information about parental leave."
    assert finish(said, search()).text == said


def test_a_failed_search_is_not_an_empty_one() -> None:
    assert finish("The search failed.", search(status="error")).text == "The search failed."


def test_an_answer_without_a_search_is_the_same_object() -> None:
    answer = AIMessage("Hello [1].")
    assert finish_answer(answer, [HumanMessage("hi")]) is answer


def test_a_result_the_model_kept_to_itself_is_added() -> None:
    result = ToolMessage("42 * 17 = 714", tool_call_id="1", name="calculate")
    assert finish("Thank you for using the calculator.", result).text == "Thank you for using the calculator.\n\n42 * 17 = 714"
    assert finish("That is 714.", result).text == "That is 714."


def test_a_rounded_or_grouped_result_counts_as_given() -> None:
    third = ToolMessage("1 / 3 = 0.333333333333333", tool_call_id="1", name="calculate")
    million = ToolMessage("1000 * 1000 = 1000000", tool_call_id="1", name="calculate")
    assert finish("About 0.33.", third).text == "About 0.33."
    assert finish("It is 1,000,000.", million).text == "It is 1,000,000."


def test_only_the_searches_of_the_turn_share_their_numbers() -> None:
    turn = [HumanMessage("a"), search(LEAVE), search(TRAVEL)]
    numbered = number_passages([*turn, HumanMessage("b"), search(LEAVE)])
    assert [message.text.count('number="1"') for message in numbered] == [0, 1, 0, 0, 1]
    assert 'number="2"' in numbered[2].text


def test_an_artifact_gives_the_same_passages_back() -> None:
    assert passages_of([as_artifact(LEAVE), as_artifact(TRAVEL)]) == [LEAVE, TRAVEL]
