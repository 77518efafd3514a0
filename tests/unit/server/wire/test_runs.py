"""From a body to what the worker gets."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from freehold.core.errors import InvalidRequest
from freehold.core.run import RunRequest
from freehold.server.wire.runs import RunOnThread, RunWithoutThread, modes_in_query, stream_modes


def on_thread(**body: Any) -> RunOnThread:
    return RunOnThread.model_validate({"assistant_id": "a", **body})


def test_a_body_with_nothing_but_the_assistant_has_the_protocols_defaults() -> None:
    body = on_thread()
    assert body.request() == RunRequest()
    assert (body.multitask_strategy, body.if_not_exists, body.on_disconnect, body.after_seconds) == ("enqueue", "reject", "continue", 0)


@pytest.mark.parametrize(
    ("given", "modes"),
    [("values", ("values",)), (["values", "custom", "values"], ("values", "custom")), ([], ("values",))],
)
def test_stream_modes_may_be_one_or_many(given: Any, modes: tuple[str, ...]) -> None:
    assert stream_modes(given) == modes


@pytest.mark.parametrize(
    ("given", "error"),
    [("thoughts", InvalidRequest), (["values", "tool"], InvalidRequest), ([1], InvalidRequest)],
)
def test_other_stream_modes_are_refused(given: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        stream_modes(given)


@pytest.mark.parametrize(
    ("given", "modes"),
    [([], None), ([""], None), (["updates", "custom"], {"updates", "custom"}), (['["updates","custom"]'], {"updates", "custom"})],
)
def test_modes_in_a_query_are_written_in_three_ways(given: list[str], modes: set[str] | None) -> None:
    assert modes_in_query(given) == modes


@pytest.mark.parametrize(
    ("given", "durability"),
    [({}, "async"), ({"checkpoint_during": False}, "exit"), ({"checkpoint_during": True}, "async"), ({"durability": "sync"}, "sync")],
)
def test_the_deprecated_checkpoint_during_means_a_durability(given: dict[str, Any], durability: str) -> None:
    assert on_thread(**given).request().durability == durability


@pytest.mark.parametrize(("given", "nodes"), [("*", "*"), (["a", "b"], ("a", "b")), ("a", ("a",)), (None, ())])
def test_nodes_to_stop_at_are_a_star_a_name_or_a_list(given: Any, nodes: Any) -> None:
    assert on_thread(interrupt_before=given).request().interrupt_before == nodes


def test_a_checkpoint_may_be_given_by_its_id() -> None:
    assert on_thread(checkpoint_id="c").request().checkpoint == {"checkpoint_id": "c"}
    named = {"checkpoint_id": "d", "checkpoint_ns": "n"}
    assert on_thread(checkpoint=named).request().checkpoint == named


def test_a_command_keeps_a_null_answer_apart_from_none() -> None:
    assert on_thread(command={"resume": False}).request().command == {"resume": False}
    assert on_thread(command={"update": {"a": None}, "goto": [{"node": "n", "input": {"x": 1}}, "m"]}).request().command == {
        "update": {"a": None},
        "goto": [{"node": "n", "input": {"x": 1}}, "m"],
    }


def test_an_empty_command_is_none() -> None:
    assert on_thread(input={"a": 1}, command={}).request().command is None


def test_a_null_input_is_no_input_and_goes_with_a_command() -> None:
    assert on_thread(input=None, command={"resume": 1}).request().input is None
    with pytest.raises(ValidationError, match="exclude each other"):
        on_thread(input={"a": 1}, command={"resume": 1})


def test_a_run_without_a_thread_leaves_none_behind_unless_told_to() -> None:
    assert RunWithoutThread.model_validate({"assistant_id": "a"}).request().on_completion == "delete"
    assert RunWithoutThread.model_validate({"assistant_id": "a", "on_completion": "keep"}).request().on_completion == "keep"
