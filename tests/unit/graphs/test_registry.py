"""Loading whole projects: every kind of graph, and every way one can be broken."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from langgraph.graph import MessagesState, StateGraph

from freehold.core.errors import GraphError, NotConfigured, NotFound
from freehold.graphs.loader import AnyGraph
from freehold.graphs.registry import GraphRegistry, load_project

AGENT = """
from langgraph.graph import MessagesState, StateGraph

builder = StateGraph(MessagesState)
builder.add_node("answer", lambda state: {"messages": [("ai", "hello")]})
builder.set_entry_point("answer")
graph = builder.compile()
"""


@pytest.fixture(autouse=True)
def _leave_the_process_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def project(folder: Path, graphs: dict[str, Any], files: dict[str, str], **keys: Any) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(dedent(content))
    (folder / "langgraph.json").write_text(json.dumps({"dependencies": ["."], "graphs": graphs, **keys}))
    return folder


async def answer(registry: GraphRegistry, graph_id: str, config: Any = None, **options: Any) -> str:
    async with registry.open(graph_id, config or {}, **options) as graph:
        assert isinstance(graph.checkpointer, type(None))
        return str((await graph.ainvoke({"messages": [("user", "hi")]}))["messages"][-1].content)


def shipped() -> AnyGraph:
    builder = StateGraph(MessagesState)
    builder.add_node("answer", lambda state: {"messages": [("ai", "shipped")]})  # type: ignore[arg-type, return-value]
    builder.set_entry_point("answer")
    return builder.compile()


KINDS = {
    "a compiled graph": ("graph", ""),
    "an uncompiled graph": ("builder", ""),
    "a function of nothing": ("make", "def make():\n    return graph\n"),
    "an async function of nothing": ("make", "async def make():\n    return builder\n"),
    "a function of the config": ("make", "def make(config):\n    assert config['configurable']['key'] == 1\n    return graph\n"),
    "a function of the annotated config": (
        "make",
        "from langchain_core.runnables import RunnableConfig\ndef make(c: RunnableConfig):\n"
        "    assert c['configurable']['key'] == 1\n    return graph\n",
    ),
    "an async function of the config": ("make", "async def make(config: dict):\n    return graph\n"),
    "a function of the server runtime": (
        "make",
        "from langgraph_sdk.runtime import ServerRuntime\ndef make(rt: ServerRuntime):\n"
        "    assert rt.execution_runtime.context == {'k': 2}\n"
        "    rt.store.get\n    return graph\n",
    ),
    "a function of both": (
        "make",
        "async def make(config, runtime):\n    assert runtime.access_context == 'threads.create_run' and config\n    return graph\n",
    ),
    "an async context manager": (
        "make",
        "import contextlib\n@contextlib.asynccontextmanager\nasync def make(config):\n    yield builder\n",
    ),
    "an async context manager of nothing": (
        "make",
        "import contextlib\n@contextlib.asynccontextmanager\nasync def make():\n    yield graph\n",
    ),
    "a context manager": ("make", "import contextlib\n@contextlib.contextmanager\ndef make(config):\n    yield graph\n"),
    "an argument with a default": ("make", "def make(size=3):\n    return graph\n"),
    "the functional interface": (
        "flow",
        "from langgraph.func import entrypoint\n@entrypoint()\nasync def flow(state):\n"
        "    return {'messages': [type('M', (), {'content': 'hello'})]}\n",
    ),
    "a graph with a checkpointer of its own": (
        "own",
        "from langgraph.checkpoint.memory import InMemorySaver\nown = builder.compile(checkpointer=InMemorySaver())\n",
    ),
}


@pytest.mark.parametrize(("name", "code"), KINDS.values(), ids=KINDS)
async def test_every_kind_of_graph_runs(tmp_path: Path, name: str, code: str) -> None:
    registry = await load_project(project(tmp_path, {"agent": f"./agent.py:{name}"}, {"agent.py": AGENT + code}), shipped=None)
    assert registry.failures == {}
    assert await answer(registry, "agent", {"configurable": {"key": 1}}, context={"k": 2}) == "hello"


async def test_resources_of_a_context_manager_live_as_long_as_the_run(tmp_path: Path) -> None:
    code = AGENT + dedent(
        """
        import contextlib
        events = []
        @contextlib.asynccontextmanager
        async def make(config):
            events.append("open")
            try:
                yield graph
            finally:
                events.append("close")
        """
    )
    registry = await load_project(project(tmp_path, {"agent": "agent_module:make"}, {"agent_module.py": code}), shipped=None)
    events = sys.modules["agent_module"].events
    assert events == []
    async with registry.open("agent", {}):
        assert events == ["open"]
    assert events == ["open", "close"]
    with pytest.raises(ZeroDivisionError):
        async with registry.open("agent", {}):
            raise ZeroDivisionError
    assert events == ["open", "close"] * 2


async def test_a_read_is_told_apart_from_a_run(tmp_path: Path) -> None:
    check = "runtime.execution_runtime is None and runtime.access_context == 'threads.read'"
    code = AGENT + f"def make(runtime):\n    assert {check}\n    return graph\n"
    registry = await load_project(project(tmp_path, {"agent": "./agent.py:make"}, {"agent.py": code}), shipped=None)
    assert await answer(registry, "agent", access="threads.read") == "hello"


async def test_a_slow_factory_does_not_stop_the_loop(tmp_path: Path) -> None:
    code = AGENT + "import time\ndef make(config):\n    time.sleep(0.3)\n    return graph\n"
    registry = await load_project(project(tmp_path, {"agent": "./agent.py:make"}, {"agent.py": code}), shipped=None)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    counting = asyncio.create_task(count())
    await answer(registry, "agent")
    counting.cancel()
    assert turns > 3


async def test_relative_imports_and_source_folders_work(tmp_path: Path) -> None:
    files = {
        "src/agent/__init__.py": "",
        "src/agent/state.py": "GREETING = 'hello from a package'\n",
        "src/agent/graph.py": AGENT.replace(
            "from langgraph", "from .state import GREETING\nfrom agent.state import GREETING as same\nfrom langgraph", 1
        ).replace('"hello"', "GREETING"),
    }
    registry = await load_project(project(tmp_path, {"agent": "./src/agent/graph.py:graph"}, files), shipped=None)
    assert await answer(registry, "agent") == "hello from a package"


async def test_files_of_one_name_in_two_folders_stay_apart(tmp_path: Path) -> None:
    files = {"one/agent.py": AGENT, "two/agent.py": AGENT.replace('"hello"', '"two"')}
    registry = await load_project(project(tmp_path, {"a": "./one/agent.py:graph", "b": "./two/agent.py:graph"}, files), shipped=None)
    assert (await answer(registry, "a"), await answer(registry, "b")) == ("hello", "two")


BROKEN = {
    "a syntax error": ("./bad.py:graph", {"bad.py": "x = 1\ndef (:\n"}, "./bad.py:graph: bad.py:2: SyntaxError"),
    "an error at import": ("./bad.py:graph", {"bad.py": "x = 1\ny = undefined\n"}, "./bad.py:graph: bad.py:2: NameError: name 'undefined'"),
    "an error deep inside": (
        "./bad.py:graph",
        {"bad.py": "import helper\n", "helper.py": "def f():\n    raise ValueError('no')\nf()\n"},
        "./bad.py:graph: helper.py:2: ValueError: no",
    ),
    "a missing module": (
        "./bad.py:graph",
        {"bad.py": "import absent_module_xyz\n"},
        "bad.py:1: ModuleNotFoundError: No module named 'absent_module_xyz'",
    ),
    "an exit at import": ("./bad.py:graph", {"bad.py": "import sys\nsys.exit(3)\n"}, "bad.py:2: SystemExit: 3"),
    "a missing file": ("./absent.py:graph", {}, "./absent.py:graph: no such file"),
    "a missing name": ("./bad.py:graph", {"bad.py": AGENT.replace("graph =", "other =")}, './bad.py:graph: the module has no "graph"'),
    "another language": ("./agent.ts:graph", {"agent.ts": ""}, "./agent.ts:graph: only Python files can be served"),
    "no graph": ("./bad.py:graph", {"bad.py": "graph = 42\n"}, "./bad.py:graph: expected a graph or a function that returns one, got int"),
    "a function that returns none": (
        "./bad.py:graph",
        {"bad.py": "def graph():\n    return 42\n"},
        "./bad.py:graph: expected a graph, got int",
    ),
    "a function that fails": (
        "./bad.py:graph",
        {"bad.py": "def graph():\n    return 1 / 0\n"},
        "./bad.py:graph: bad.py:2: ZeroDivisionError",
    ),
    "a function of three": (
        "./bad.py:graph",
        {"bad.py": "def graph(a, b, c): ...\n"},
        "./bad.py:graph: a graph function takes nothing, the config",
    ),
    "a graph without an entry": (
        "./bad.py:builder",
        {"bad.py": "from langgraph.graph import MessagesState, StateGraph\nbuilder = StateGraph(MessagesState)\n"},
        "./bad.py:builder: ValueError: Graph must have an entrypoint",
    ),
}


@pytest.mark.parametrize(("source", "files", "message"), BROKEN.values(), ids=BROKEN)
async def test_a_broken_graph_is_one_clear_error_and_the_others_load(
    tmp_path: Path, source: str, files: dict[str, str], message: str
) -> None:
    folder = project(tmp_path, {"bad": source, "good": "./agent.py:graph"}, {"agent.py": AGENT, **files})
    registry = await load_project(folder, shipped=None)
    assert message in registry.failures["bad"].message
    assert "Traceback" not in str(registry.failures["bad"])
    assert await answer(registry, "good") == "hello"
    with pytest.raises(GraphError) as error:
        registry.open("bad", {})
    assert error.value is registry.failures["bad"]


async def test_a_missing_package_the_project_lists_is_named_with_the_command(tmp_path: Path) -> None:
    files = {"agent.py": "import absent_module_xyz\n", "requirements.txt": "absent-package-xyz\n"}
    registry = await load_project(project(tmp_path, {"agent": "./agent.py:graph"}, files), shipped=None)
    assert "pip install 'absent-package-xyz'" in str(registry.failures["agent"].hint)
    assert any("absent-package-xyz" in finding for finding in registry.findings)


async def test_a_factory_that_fails_in_a_run_points_at_the_users_line(tmp_path: Path) -> None:
    code = AGENT + "def make(config):\n    return config['configurable']['absent']\n"
    registry = await load_project(project(tmp_path, {"agent": "./agent.py:make"}, {"agent.py": code}), shipped=None)
    with pytest.raises(GraphError, match=r"agent\.py:\d+: KeyError: 'absent'"):
        async with registry.open("agent", {"configurable": {}}):
            pass


async def test_the_environment_is_filled_but_never_overridden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROJECT_SET", "outer")
    monkeypatch.setenv("PROJECT_UNSET", "")
    monkeypatch.delenv("PROJECT_UNSET")
    code = "import os\nassert os.environ['PROJECT_UNSET'] == 'inner'\n" + AGENT
    env = {"PROJECT_SET": "inner", "PROJECT_UNSET": "inner"}
    registry = await load_project(project(tmp_path, {"agent": "./agent.py:graph"}, {"agent.py": code}, env=env), shipped=None)
    assert registry.failures == {}
    assert os.environ["PROJECT_SET"] == "outer"


async def test_an_unknown_graph_is_answered_with_the_nearest_name(tmp_path: Path) -> None:
    registry = await load_project(project(tmp_path, {"research": "./agent.py:graph"}, {"agent.py": AGENT}), shipped=None)
    with pytest.raises(NotFound, match='no graph "reserch"; did you mean "research"'):
        registry.open("reserch", {})
    with pytest.raises(NotFound, match="graphs here: research"):
        registry.open("zzz", {})


async def test_plain_chat_talks_to_the_only_graph_else_the_shipped_one_else_the_first(tmp_path: Path) -> None:
    folder = project(tmp_path, {"one": "./agent.py:graph", "two": "./agent.py:graph"}, {"agent.py": AGENT})
    assert (await load_project(folder, shipped=None)).default() == "one"
    assert (await load_project(folder, shipped=shipped)).default() == "assistant"
    assert (await load_project(None, shipped=shipped)).default() == "assistant"
    with pytest.raises(NotConfigured):
        (await load_project(None, shipped=None)).default()


async def test_a_projects_own_assistant_takes_precedence(tmp_path: Path) -> None:
    registry = await load_project(project(tmp_path, {"assistant": "./agent.py:graph"}, {"agent.py": AGENT}), shipped=shipped)
    assert await answer(registry, "assistant") == "hello"
