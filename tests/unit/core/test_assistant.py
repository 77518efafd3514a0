"""What a run executes: the assistant's settings under the client's."""

from __future__ import annotations

from typing import Any

import pytest

from freehold.core.assistant import NO_SETTINGS, Settings, executed, mirrored
from freehold.core.run import RunRequest, graph_keys

SETTINGS = Settings(
    config={"configurable": {"tone": "warm", "lang": "en"}, "tags": ["a"], "recursion_limit": 5, "metadata": {"by": "assistant"}},
    context={"tone": "warm", "lang": "en"},
    metadata={"team": "red", "by": "assistant"},
)


def test_without_settings_a_run_executes_what_was_asked() -> None:
    request = RunRequest(input={"x": 1}, config={"tags": ["t"]}, metadata={"m": 1})
    assert executed(request, NO_SETTINGS) == request


def test_what_the_client_sets_lies_over_what_the_assistant_sets() -> None:
    asked = {"configurable": {"tone": "dry"}, "tags": ["b"], "recursion_limit": 7, "metadata": {"by": "client"}}
    run = executed(RunRequest(config=asked, metadata={"by": "client"}), SETTINGS)
    assert run.config["configurable"] == run.context == {"tone": "dry", "lang": "en"}
    assert (run.config["tags"], run.config["recursion_limit"], run.config["metadata"]) == (["a", "b"], 7, {"by": "client"})
    assert run.metadata == {"team": "red", "by": "client"}


def test_what_the_client_leaves_out_is_the_assistants() -> None:
    run = executed(RunRequest(input="x"), SETTINGS)
    assert (run.config, run.context, run.metadata, run.input) == (SETTINGS.config, SETTINGS.context, SETTINGS.metadata, "x")


@pytest.mark.parametrize(
    ("configurable", "context", "expected"),
    [
        (None, None, ({}, {})),
        ({"a": 1}, None, ({"a": 1}, {"a": 1})),
        (None, {"a": 1}, ({"a": 1}, {"a": 1})),
        ({"a": 1}, {"b": 2}, ({"a": 1}, {"b": 2})),
        ({"thread_id": "t", "a": 1}, None, ({"thread_id": "t", "a": 1}, {"a": 1})),
        ({"checkpoint_id": "c"}, {"b": 2}, ({"checkpoint_id": "c", "b": 2}, {"b": 2})),
        (None, {"thread_id": "t", "langgraph_auth_user": "x"}, ({}, {"thread_id": "t", "langgraph_auth_user": "x"})),
    ],
)
def test_whoever_gives_one_of_configurable_and_context_gives_both(configurable: Any, context: Any, expected: Any) -> None:
    assert mirrored(configurable, context) == expected


@pytest.mark.parametrize("key", ["thread_id", "checkpoint_ns", "checkpoint_map", "langgraph_auth_user", "freehold_owner", "__pregel_send"])
def test_clients_do_not_set_keys_that_say_where_and_for_whom_a_run_is(key: str) -> None:
    assert graph_keys({key: "x", "tone": "dry"}) == {"tone": "dry"}
