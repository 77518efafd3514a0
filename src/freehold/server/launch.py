"""From a parsed body to an accepted run: find the assistant, store the run, wake the workers."""

from __future__ import annotations

import difflib
from dataclasses import replace
from uuid import UUID

import structlog

from freehold.core.caller import Caller
from freehold.core.errors import NotFound
from freehold.core.ids import assistant_id
from freehold.core.run import MultitaskStrategy, Run, RunRequest
from freehold.server.parts import ServerParts
from freehold.server.request_headers import with_headers
from freehold.server.wire.runs import RunOnThread, RunWithoutThread
from freehold.storage.runs import Target
from freehold.telemetry import conventions, tracing
from freehold.telemetry.origin import origin


async def find_assistant(parts: ServerParts, caller: Caller, named: str) -> tuple[UUID, str]:
    """Id and graph of the assistant a client named by its id or by a graph's. System assistants are known without a query.

    Raises:
        NotFound: no such assistant; the nearest graph is in the message.
        GraphError: its graph did not load.
    """
    graphs = parts.graphs
    if named in graphs.failures:
        raise graphs.failures[named]
    if named in graphs.graphs:
        return assistant_id(named), named
    try:
        wanted = UUID(named)
    except ValueError:
        close = difflib.get_close_matches(named, graphs.graphs, n=1, cutoff=0.5)
        hint = f'did you mean "{close[0]}"?' if close else f"agents here: {', '.join(graphs.graphs) or 'none'}"
        raise NotFound(f'no assistant "{named[:100]}"', hint=hint) from None
    for graph_id in (*graphs.graphs, *graphs.failures):
        if assistant_id(graph_id) == wanted:
            return await find_assistant(parts, caller, graph_id)
    assistant = await parts.assistants.get(caller, wanted)
    if assistant.graph_id not in graphs.graphs:
        raise graphs.failures.get(assistant.graph_id) or NotFound(f'the graph "{assistant.graph_id}" is not served any more')
    return wanted, assistant.graph_id


async def launch_on_thread(parts: ServerParts, caller: Caller, thread_id: UUID, body: RunOnThread) -> Run:
    """Accept a run on a thread. Raises NotFound, Conflict, GraphError, InvalidRequest."""
    wanted, graph_id = await find_assistant(parts, caller, body.assistant_id)
    target = Target(wanted, graph_id, thread_id, create_thread=body.if_not_exists == "create")
    return await launch(parts, caller, target, body.request(), strategy=body.multitask_strategy, after_seconds=body.after_seconds)


async def launch_without_thread(parts: ServerParts, caller: Caller, body: RunWithoutThread) -> Run:
    """Accept a run on a thread of its own. Raises NotFound, GraphError, InvalidRequest."""
    wanted, graph_id = await find_assistant(parts, caller, body.assistant_id)
    target = Target(wanted, graph_id, temporary=body.on_completion == "delete")
    return await launch(parts, caller, target, body.request(), after_seconds=body.after_seconds)


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
        request = replace(with_headers(request), origin=origin(), user=dict(caller.user) if caller.user else None)
        accepted = await parts.runs.accept(caller, target, request, strategy=strategy, after_seconds=after_seconds)
        span.set_attributes({**conventions.run_ids(accepted.run), "gen_ai.agent.name": target.graph_id})
    structlog.contextvars.bind_contextvars(run_id=str(accepted.run.run_id), thread_id=str(accepted.run.thread_id))
    for stopped in accepted.stopped:
        await parts.events.announce_cancel(stopped)
    await parts.events.wake_workers()
    return accepted.run
