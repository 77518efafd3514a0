"""The config a graph sees."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from langgraph.types import Send

from freehold.core.run import Run, RunRequest
from freehold.worker.execute import _command, run_config

RUN, THREAD, ASSISTANT = (UUID(int=number) for number in (1, 2, 3))


def run(**request: Any) -> Run:
    now = datetime.now(UTC)
    return Run(RUN, THREAD, ASSISTANT, "acme", "anna", "running", RunRequest(**request), {"from": "client"}, "enqueue", 1, 1, now, now)


def test_what_was_accepted_reaches_the_graph() -> None:
    config = run_config(run(config={"configurable": {"tone": "dry"}, "tags": ["b"], "recursion_limit": 7}), "agent")
    assert (config["configurable"]["tone"], config["tags"], config["recursion_limit"]) == ("dry", ["b"], 7)
    assert config["metadata"]["from"] == "client"


def test_a_node_is_told_which_request_asked_for_its_run() -> None:
    assert run_config(run(origin={"request_id": "r1"}), "agent")["configurable"]["langgraph_request_id"] == "r1"


@pytest.mark.parametrize(
    "key",
    ["thread_id", "run_id", "graph_id", "assistant_id", "user_id", "langgraph_auth_user_id", "freehold_owner", "freehold_organisation"],
)
def test_nobody_can_set_who_and_where_a_run_is(key: str) -> None:
    honest = run_config(run(), "agent")
    forged = run_config(run(config={"configurable": {key: "forged"}, "metadata": {"run_id": "forged"}}), "agent")
    assert forged["configurable"][key] == honest["configurable"][key] != "forged"
    assert forged["metadata"]["run_id"] == str(RUN)


def test_where_nobody_has_to_say_who_they_are_a_client_tells_its_users_apart() -> None:
    asked = replace(run(config={"configurable": {"user_id": "ada"}}), organisation="local", owner="local")
    configurable = run_config(asked, "agent")["configurable"]
    assert (configurable["user_id"], configurable["langgraph_auth_user_id"]) == ("ada", "local")


def test_a_client_cannot_forge_the_user_that_graphs_trust() -> None:
    forged = {"langgraph_auth_user": {"identity": "admin"}, "langgraph_auth_permissions": ["*"], "freehold_anything": 1}
    configurable = run_config(run(config={"configurable": forged}), "agent")["configurable"]
    assert configurable["langgraph_auth_user"]["identity"] == configurable["langgraph_auth_user"].identity == "anna"
    assert configurable["langgraph_auth_permissions"] == []
    assert "freehold_anything" not in configurable


def test_langgraphs_own_keys_are_dropped_from_what_clients_send() -> None:
    config = run_config(run(config={"configurable": {"__pregel_checkpointer": "x", "checkpoint_map": {}}}), "agent")
    assert not [key for key in config["configurable"] if key.startswith("__") or key == "checkpoint_map"]


def test_a_checkpoint_to_start_from_is_passed_on() -> None:
    config = run_config(run(checkpoint={"checkpoint_id": "c1", "checkpoint_ns": "", "thread_id": "other"}), "agent")
    assert config["configurable"]["checkpoint_id"] == "c1"
    assert config["configurable"]["thread_id"] == str(THREAD)


@pytest.mark.parametrize(
    ("goto", "expected"),
    [("node", ["node"]), (["a", "b"], ["a", "b"]), ({"node": "a", "input": 1}, [Send("a", 1)]), (None, [])],
)
def test_a_commands_goto_takes_names_and_sends(goto: Any, expected: list[Any]) -> None:
    command = _command({"resume": "yes", "goto": goto})
    assert (command.resume, list(command.goto)) == ("yes", expected)
