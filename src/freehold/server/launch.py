"""From a parsed body to an accepted run: find the assistant, store the run, wake the workers."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import structlog

from freehold.core.assistant import NO_SETTINGS, Settings, executed
from freehold.core.caller import Caller
from freehold.core.errors import NotFound
from freehold.core.ids import assistant_id
from freehold.core.run import MultitaskStrategy, Run, RunRequest
from freehold.server import audit
from freehold.server.parts import ServerParts
from freehold.server.request_headers import with_headers
from freehold.server.wire.runs import RunOnThread, RunWithoutThread
from freehold.storage.lifetime import TimeToLive
from freehold.storage.runs import Offer, Target
from freehold.telemetry import conventions, tracing
from freehold.telemetry.origin import origin


def named_assistant(parts: ServerParts, named: str) -> UUID:
    """Id of the assistant a client named by its id or by a graph's. Whether there is such an assistant is not looked up.

    Raises:
        NotFound: neither an id nor a graph; the nearest graph is in the message.
        GraphError: the graph did not load.
    """
    graphs = parts.graphs
    if named in graphs.failures:
        raise graphs.failures[named]
    if named in graphs.graphs:
        return assistant_id(named)
    try:
        return UUID(named)
    except ValueError:
        raise NotFound(f'no assistant "{named[:100]}"', hint=_nearest(parts, named)) from None


def default_ttl(parts: ServerParts) -> TimeToLive | None:
    """What `checkpointer.ttl` of langgraph.json gives a new thread that says nothing itself."""
    project = parts.graphs.project
    ttl = project.checkpointer.ttl if project and project.checkpointer else None
    return TimeToLive(ttl.default_ttl, ttl.strategy) if ttl and ttl.default_ttl else None


def check_graph(parts: ServerParts, graph_id: str) -> None:
    """Raises NotFound where a graph is not served, GraphError where it did not load."""
    if graph_id in parts.graphs.failures:
        raise parts.graphs.failures[graph_id]
    if graph_id not in parts.graphs.graphs:
        raise NotFound(f'the graph "{graph_id[:100]}" is not served here', hint=_nearest(parts, graph_id))


async def find_assistant(parts: ServerParts, caller: Caller, named: str) -> tuple[UUID, str]:
    """Id and graph of the assistant a client named by its id or by a graph's. System assistants are known without a query.

    Raises:
        NotFound: no such assistant, or its graph is not served; the nearest graph is in the message.
        GraphError: its graph did not load.
    """
    found = await choose_assistant(parts, caller, named)
    return found.assistant_id, found.graph_id


async def choose_assistant(parts: ServerParts, caller: Caller, named: str) -> Target:
    """The same with the settings it gives its runs, as the target of a run without a thread. Raises as `find_assistant`."""
    wanted = named_assistant(parts, named)
    for graph_id in (*parts.graphs.graphs, *parts.graphs.failures):
        if assistant_id(graph_id) == wanted:
            check_graph(parts, graph_id)
            return Target(wanted, graph_id, settings=NO_SETTINGS, lifetime=default_ttl(parts))
    assistant = await parts.assistants.get(caller.running(), wanted)
    check_graph(parts, assistant.graph_id)
    return Target(wanted, assistant.graph_id, settings=Settings.of(assistant), lifetime=default_ttl(parts))


async def launch_on_thread(parts: ServerParts, caller: Caller, thread_id: UUID, body: RunOnThread) -> Run:
    """Accept a run on a thread. Raises NotFound, Conflict, GraphError, InvalidRequest."""
    chosen = await choose_assistant(parts, caller, body.assistant_id)
    target = replace(chosen, thread_id=thread_id, create_thread=body.if_not_exists == "create")
    return await launch(parts, caller, target, body.request(), strategy=body.multitask_strategy, after_seconds=body.after_seconds)


async def launch_without_thread(parts: ServerParts, caller: Caller, body: RunWithoutThread) -> Run:
    """Accept a run on a thread of its own. Raises NotFound, GraphError, InvalidRequest."""
    target = replace(await choose_assistant(parts, caller, body.assistant_id), temporary=body.on_completion == "delete")
    return await launch(parts, caller, target, body.request(), after_seconds=body.after_seconds)


async def launch_batch(parts: ServerParts, caller: Caller, bodies: Sequence[RunWithoutThread]) -> Sequence[Run]:
    """Accept several runs without threads, all of them or none. Raises as `launch_without_thread`."""
    chosen = {named: await choose_assistant(parts, caller, named) for named in dict.fromkeys(body.assistant_id for body in bodies)}
    with tracing.span("accept runs", kind="producer") as span:
        span.set_attributes({"freehold.runs": len(bodies)})
        offers = []
        for body in bodies:
            target = replace(chosen[body.assistant_id], temporary=body.on_completion == "delete")
            offers.append(Offer(target, await _complete(parts, caller, target, body.request()), body.after_seconds))
        runs = await parts.runs.accept_all(caller, offers)
    audit.about(run_ids=" ".join(str(run.run_id) for run in runs))
    await parts.events.wake_workers()
    return runs


async def launch(
    parts: ServerParts,
    caller: Caller,
    target: Target,
    request: RunRequest,
    *,
    strategy: MultitaskStrategy = "enqueue",
    after_seconds: float = 0,
) -> Run:
    """Accept a run: when this returns it survives any process; then tell workers, which only saves time."""
    with tracing.span("accept run", kind="producer") as span:
        request = await _complete(parts, caller, target, request)
        accepted = await parts.runs.accept(caller, target, request, strategy=strategy, after_seconds=after_seconds)
        span.set_attributes({**conventions.run_ids(accepted.run), "gen_ai.agent.name": target.graph_id})
    structlog.contextvars.bind_contextvars(run_id=str(accepted.run.run_id), thread_id=str(accepted.run.thread_id))
    audit.about(thread_id=accepted.run.thread_id, run_id=accepted.run.run_id)
    for stopped in accepted.stopped:
        await parts.events.announce_cancel(stopped)
    await parts.events.wake_workers(accepted.run.thread_id)
    return accepted.run


async def _complete(parts: ServerParts, caller: Caller, target: Target, request: RunRequest) -> RunRequest:
    """What is stored with a run, so that nothing has to be looked up when it is executed."""
    if request.webhook:
        await parts.webhook_policy.check(request.webhook)
    settings = target.settings
    if settings is None:
        is_system = target.assistant_id == assistant_id(target.graph_id)
        settings = NO_SETTINGS if is_system else Settings.of(await parts.assistants.get(caller.running(), target.assistant_id))
    return completed(caller, executed(request, settings))


def completed(caller: Caller, request: RunRequest) -> RunRequest:
    """The same for one whose settings are in it already."""
    if caller.configurable:  # said already where the body of the request had a place for it
        configurable = {**(request.config.get("configurable") or {}), **caller.configurable}
        request = replace(request, config={**request.config, "configurable": configurable})
    return replace(with_headers(request), origin=origin(), user=dict(caller.user) if caller.user else None)


def _nearest(parts: ServerParts, named: str) -> str:
    close = difflib.get_close_matches(named, parts.graphs.graphs, n=1, cutoff=0.5)
    return f'did you mean "{close[0]}"?' if close else f"agents here: {', '.join(parts.graphs.graphs) or 'none'}"
