"""The example projects load and do what they say."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from freehold.graphs.registry import load_project
from freehold.lab.scripted_model import ScriptedModel

EXAMPLES = Path(__file__).parents[3] / "examples" / "graphs"


@pytest.fixture(autouse=True)
def _leave_the_process_as_it_was() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.mark.parametrize("folder", sorted(EXAMPLES.iterdir()), ids=lambda folder: folder.name)
async def test_an_example_loads_without_findings(folder: Path) -> None:
    registry = await load_project(folder, shipped=None)
    assert registry.failures == {}
    assert registry.findings == ()
    assert all(entry.description for entry in registry.graphs.values())


async def test_the_refund_waits_for_approval_when_it_is_large() -> None:
    registry = await load_project(EXAMPLES / "approval", shipped=None)
    config: Any = {"configurable": {"thread_id": "1"}}
    async with registry.open("approval", {}) as opened:
        graph = opened.copy(update={"checkpointer": InMemorySaver()})
        asked = await graph.ainvoke({"amount": 400}, config)
        assert asked["__interrupt__"][0].value == {"question": "Refund 400?"}
        assert (await graph.ainvoke(Command(resume=True), config))["status"] == "paid"
        assert (await graph.ainvoke({"amount": 40}, {"configurable": {"thread_id": "2"}}))["status"] == "paid"


async def test_the_translator_takes_its_language_from_the_run(scripted_model: ScriptedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", scripted_model.base_url)
    registry = await load_project(EXAMPLES / "translator", shipped=None)
    for configurable, language in (({}, "French"), ({"language": "German"}, "German")):
        async with registry.open("translator", {"configurable": configurable}) as graph:
            await graph.ainvoke({"messages": [("user", "Good morning")]})
        assert language in scripted_model.received[-1].body["messages"][0]["content"]
