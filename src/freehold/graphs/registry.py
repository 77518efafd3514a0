"""Every graph this process serves, by id: the project's own and the one Freehold ships.

A graph that does not load is kept as its error, so one mistake never takes the others down.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.pregel import Pregel
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph_sdk.runtime import AccessContext, _ExecutionRuntime, _ReadRuntime

from freehold.config import env
from freehold.core.errors import GraphError, NotConfigured, NotFound
from freehold.graphs import requirements
from freehold.graphs.loader import AnyGraph, Factory, Fixed, load
from freehold.graphs.project import GraphReference, Project, read_project

log = logging.getLogger(__name__)

#: Id of the graph Freehold ships.
SHIPPED = "assistant"


@dataclass(frozen=True)
class GraphEntry:
    """A graph that loaded. `source` is as written in langgraph.json, e.g. `./agent.py:graph`, or `shipped`."""

    graph_id: str
    source: str
    description: str | None
    is_factory: bool
    _origin: Fixed | Factory = field(repr=False)


@dataclass(frozen=True)
class GraphRegistry:
    """Immutable once loaded: a changed project is a new process."""

    graphs: Mapping[str, GraphEntry]
    failures: Mapping[str, GraphError]
    findings: tuple[str, ...] = ()
    #: What langgraph.json says; None where no project is served.
    project: Project | None = None

    @property
    def revives(self) -> tuple[tuple[str, ...], ...]:
        """Types that checkpoints give back as what they were, beside those of a graph's state: `checkpointer.serde` says which."""
        serde = self.project.checkpointer.serde if self.project and self.project.checkpointer else None
        return serde.allowed_msgpack_modules if serde else ()

    def open(
        self,
        graph_id: str,
        config: RunnableConfig,
        *,
        access: AccessContext = "threads.create_run",
        store: BaseStore | None = None,
        context: Any = None,
        user: Any = None,
    ) -> AbstractAsyncContextManager[AnyGraph]:
        """The graph for one run or read, without a checkpointer: give it yours with `graph.copy(update={"checkpointer": …})`.

        Factories are called each time with the config and, where they ask for it, a `ServerRuntime` made of the rest.
        Entering raises GraphError when the user's factory fails.

        Raises:
            NotFound: no such graph; the nearest name is in the message.
            GraphError: this graph did not load; the same error as in `failures`.
        """
        if graph_id in self.failures:
            raise self.failures[graph_id]
        if graph_id not in self.graphs:
            raise NotFound(f'no graph "{graph_id}"{_nearest(graph_id, self.graphs)}')
        runtime: object
        if access == "threads.create_run":
            runtime = _ExecutionRuntime(access_context=access, user=user, store=store or InMemoryStore(), context=context)
        else:
            runtime = _ReadRuntime(access_context=access, user=user, store=store or InMemoryStore())
        return self.graphs[graph_id]._origin.open(config, runtime)

    def default(self) -> str:
        """The graph that plain chat talks to: the only one, else "assistant", else the first.

        Raises:
            NotConfigured: nothing loaded.
        """
        if not self.graphs:
            broken = "; ".join(error.message for error in self.failures.values())
            raise NotConfigured(f"no graph is served{': ' + broken if broken else ''}", hint="`freehold check` explains what is wrong")
        return SHIPPED if SHIPPED in self.graphs else next(iter(self.graphs))


async def load_project(path: Path | None, *, shipped: Callable[[], Pregel[Any, Any, Any, Any]] | None) -> GraphRegistry:
    """Load every graph of a `langgraph.json` and, where asked, the shipped one under the id "assistant".

    The project's folders join the import path and its `env` fills variables that are not set yet, for this process.

    Args:
        path: a langgraph.json or its folder; None for no project.
        shipped: makes the shipped graph; a project's own "assistant" takes precedence.

    Raises:
        ConfigError: the file is missing or malformed.
        NotSupported: it uses a key that is refused by name.
    """
    graphs: dict[str, GraphEntry] = {}
    failures: dict[str, GraphError] = {}
    findings: list[str] = []
    project: Project | None = None
    if path is not None:
        project = await asyncio.to_thread(read_project, path)
        missing = await asyncio.to_thread(requirements.missing, project.requirements)
        findings += [*project.findings, *missing.values()]
        _enter(project)
        for reference in project.graphs:
            try:
                graphs[reference.graph_id] = await _load(reference, project)
            except GraphError as error:
                failures[reference.graph_id] = _with_missing(error, missing)
    if shipped is not None and SHIPPED not in graphs and SHIPPED not in failures:
        graph = await asyncio.to_thread(shipped)
        graphs[SHIPPED] = GraphEntry(SHIPPED, "shipped", "Answers with tools and your documents.", False, Fixed(graph))
    for finding in findings:
        log.warning("%s", finding, extra={"action": "project_finding"})
    for graph_id, failure in failures.items():
        log.error("graph %s does not load: %s", graph_id, failure, extra={"action": "graph_failed", "graph": graph_id})
    return GraphRegistry(graphs, failures, tuple(findings), project)


def _enter(project: Project) -> None:
    for folder in reversed(project.import_paths):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    env.fill(project.environment)


async def _load(reference: GraphReference, project: Project) -> GraphEntry:
    origin = await asyncio.to_thread(load, reference, project.folder)
    if isinstance(origin, Factory):
        # A function of nothing gives the same graph every time, unless it is a context manager that owns resources.
        if not origin.arguments and (graph := await origin.made_once()) is not None:
            return GraphEntry(reference.graph_id, reference.source, reference.description, True, Fixed(graph))
        return GraphEntry(reference.graph_id, reference.source, reference.description, True, origin)
    return GraphEntry(reference.graph_id, reference.source, reference.description, False, origin)


def _with_missing(error: GraphError, missing: Mapping[str, str]) -> GraphError:
    """Name the declared but absent packages: what a project lists is usually what its import lacks."""
    return GraphError(error.message, hint="; ".join(missing.values())) if missing and "ModuleNotFoundError" in error.message else error


def _nearest(graph_id: str, known: Mapping[str, GraphEntry]) -> str:
    close = difflib.get_close_matches(graph_id, known, n=1, cutoff=0.5)
    return f'; did you mean "{close[0]}"?' if close else f"; graphs here: {', '.join(known) or 'none'}"
