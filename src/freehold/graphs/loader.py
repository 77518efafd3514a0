"""From a reference in langgraph.json to something that gives graphs: importing the user's code and finding out what it made.

Whatever the user's code raises becomes one `GraphError` that points at the user's line, not at ours.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import importlib.util
import inspect
import logging
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.graph import StateGraph
from langgraph.pregel import Pregel

from freehold.core.errors import GraphError
from freehold.graphs.project import GraphReference, Project, place_of

log = logging.getLogger(__name__)

Argument = Literal["config", "runtime"]
AnyGraph = Pregel[Any, Any, Any, Any]
Wanted = TypeVar("Wanted")


@dataclass(frozen=True)
class Fixed:
    """A graph that is the same for every run; compiled once."""

    graph: AnyGraph

    @asynccontextmanager
    async def open(self, config: RunnableConfig, runtime: object) -> AsyncIterator[AnyGraph]:
        yield self.graph


@dataclass(frozen=True)
class Factory:
    """A user's function that makes a graph for each run, from the config, the server runtime, both or neither."""

    function: Callable[..., Any]
    arguments: Mapping[str, Argument]
    source: str
    folder: Path

    @asynccontextmanager
    async def open(self, config: RunnableConfig, runtime: object) -> AsyncIterator[AnyGraph]:
        given = {name: config if kind == "config" else runtime for name, kind in self.arguments.items()}
        made = await self._call(given)
        if isinstance(made, AbstractAsyncContextManager):
            async with _errors_named(made, self.source, self.folder) as value:
                yield compiled(value, self.source)
        elif isinstance(made, AbstractContextManager):
            with made as value:
                yield compiled(value, self.source)
        else:
            yield compiled(made, self.source)

    async def made_once(self) -> AnyGraph | None:
        """The graph of a function of nothing; None where it owns resources that must be opened for each run."""
        made = await self._call({})
        if isinstance(made, AbstractAsyncContextManager | AbstractContextManager):
            return None
        return compiled(made, self.source)

    async def _call(self, given: Mapping[str, Any]) -> Any:
        try:
            if _makes_coroutine_or_manager(self.function):
                made = self.function(**given)
            else:
                # An ordinary function may read files or build clients; the loop must not wait for it.
                made = await asyncio.to_thread(self.function, **given)
            return await made if inspect.isawaitable(made) else made
        except Exception as error:
            raise explain(error, self.source, self.folder) from error


def load(reference: GraphReference, folder: Path) -> Fixed | Factory:
    """Import the module of a reference and classify what it names. Blocking: call it in a thread.

    Raises:
        GraphError: the module does not import, the name is missing, or it is no graph.
    """
    module = _import(reference, folder)
    try:
        found = getattr(module, reference.attribute)
    except AttributeError as error:
        names = [name for name, value in vars(module).items() if isinstance(value, Pregel | StateGraph)]
        raise GraphError(
            f'{reference.source}: the module has no "{reference.attribute}"',
            hint=f"graphs in it: {', '.join(names)}" if names else "name a compiled graph, a StateGraph, or a function that returns one",
        ) from error
    if isinstance(found, Pregel | StateGraph):
        try:
            return Fixed(compiled(found, reference.source))
        except Exception as error:
            raise error if isinstance(error, GraphError) else explain(error, reference.source, folder) from error
    if callable(found):
        return Factory(found, _arguments(found, reference.source), reference.source, folder)
    raise GraphError(
        f"{reference.source}: expected a graph or a function that returns one, got {type(found).__name__}",
        hint="name a compiled graph, a StateGraph, or a function that returns one",
    )


def load_object(source: str, project: Project, *, key: str, kind: type[Wanted]) -> Wanted:
    """What a reference of langgraph.json names, e.g. `./auth.py:auth`. Blocking: call it in a thread.

    The project must have been entered (`registry.load_project`), so that its imports work.

    Args:
        key: where the reference stands, for messages: `auth.path`.
        kind: the class it must be of; `object` for any.

    Raises:
        GraphError: the module does not import, the name is missing, or it is of another kind.
    """
    target, _, attribute = source.rpartition(":")
    reference = GraphReference(key, place_of(target, project.folder), attribute, f"{key}: {source}")
    found = getattr(_import(reference, project.folder), attribute, None)
    if found is None:
        raise GraphError(f'{key}: {source}: the module has no "{attribute}"')
    if not isinstance(found, kind):
        raise GraphError(f"{key}: {source}: expected a {kind.__module__.split('.')[0]}.{kind.__name__}, got {type(found).__name__}")
    return found


def compiled(made: object, source: str) -> AnyGraph:
    """A Pregel without a checkpointer of its own; the caller gives it ours.

    Raises:
        GraphError: it is neither a graph nor a StateGraph.
    """
    graph = made.compile() if isinstance(made, StateGraph) else made
    if not isinstance(graph, Pregel):
        raise GraphError(f"{source}: expected a graph, got {type(graph).__name__}", hint="return a compiled graph or a StateGraph")
    if graph.checkpointer is None:
        return graph
    log.info("%s has a checkpointer of its own; the server's is used instead", source, extra={"action": "own_checkpointer"})
    return graph.copy(update={"checkpointer": None})


def explain(error: BaseException, source: str, folder: Path) -> GraphError:
    """One sentence with the user's file and line, e.g. `./agent.py:graph: agent.py:7: NameError: name 'x' is not defined`."""
    if isinstance(error, GraphError):
        return error
    what = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
    if isinstance(error, SyntaxError):
        place, what = f"{_short(error.filename or '', folder)}:{error.lineno}", f"{type(error).__name__}: {error.msg}"
    else:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename, folder)]
        place = f"{_short(frames[-1].filename, folder)}:{frames[-1].lineno}" if frames else ""
    hint = None
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.split(".")[0]
        hint = f"install the package that has the module {package} in the environment that runs Freehold, or add its folder to dependencies"
    return GraphError(f"{source}: {place + ': ' if place else ''}{what}", hint=hint)


def _import(reference: GraphReference, folder: Path) -> ModuleType:
    target = reference.target
    if isinstance(target, Path):
        if target.suffix != ".py":
            raise GraphError(f"{reference.source}: only Python files can be served, got {target.suffix or 'no'} suffix")
        if not target.is_file():
            raise GraphError(f"{reference.source}: no such file: {target}")
    try:
        return importlib.import_module(target) if isinstance(target, str) else _import_file(target)
    except (Exception, SystemExit) as error:  # importing runs the user's code, which may raise anything
        raise explain(error, reference.source, folder) from error


def _import_file(file: Path) -> ModuleType:
    """A file inside a package is imported by its dotted name, so relative imports work; any other under a name of its own."""
    if dotted := _dotted_name(file):
        module = importlib.import_module(dotted)
        if module.__file__ and Path(module.__file__).resolve() == file:
            return module
    name = f"freehold_project_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec and spec.loader  # a .py file always has both
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before running it: type hints and dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _dotted_name(file: Path) -> str | None:
    """`<root>/agent/graph.py` with `agent/__init__.py` is `agent.graph`; the root must be on the import path."""
    parts, parent = [file.stem], file.parent
    while (parent / "__init__.py").is_file():
        parts.insert(0, parent.name)
        parent = parent.parent
    return ".".join(parts) if len(parts) > 1 and str(parent) in sys.path and all(p.isidentifier() for p in parts) else None


def _arguments(function: Callable[..., Any], source: str) -> dict[str, Argument]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise GraphError(f"{source}: this callable has no readable signature", hint="wrap it in a function") from error
    wanted: dict[str, Argument] = {}
    for parameter in parameters:
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            continue
        is_runtime = "Runtime" in str(parameter.annotation) or parameter.name == "runtime"
        is_config = "RunnableConfig" in str(parameter.annotation) or parameter.name == "config"
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise GraphError(f'{source}: the argument "{parameter.name}" is positional only', hint="remove the / from the signature")
        if is_runtime or is_config or parameter.default is parameter.empty:
            wanted[parameter.name] = "runtime" if is_runtime else "config"
    if len(wanted) > 2 or len(set(wanted.values())) != len(wanted):
        raise GraphError(
            f"{source}: a graph function takes nothing, the config, the server runtime or both, got {', '.join(wanted)}",
            hint="annotate the arguments with RunnableConfig and ServerRuntime, and give others a default",
        )
    return wanted


def _makes_coroutine_or_manager(function: Callable[..., Any]) -> bool:
    inner = inspect.unwrap(function)
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(inner) or inspect.isgeneratorfunction(inner)


@asynccontextmanager
async def _errors_named(manager: AbstractAsyncContextManager[Any], source: str, folder: Path) -> AsyncIterator[Any]:
    """Enter a user's context manager; what entering raises is explained, what the run inside raises passes as it is."""
    try:
        value = await manager.__aenter__()
    except Exception as error:
        raise explain(error, source, folder) from error
    try:
        yield value
    except BaseException:
        if not await manager.__aexit__(*sys.exc_info()):
            raise
    else:
        await manager.__aexit__(None, None, None)


def _is_users(filename: str, folder: Path) -> bool:
    path = Path(filename)
    return path.is_relative_to(folder) and not {"site-packages", "dist-packages"} & set(path.parts)


def _short(filename: str, folder: Path) -> str:
    path = Path(filename)
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else filename
