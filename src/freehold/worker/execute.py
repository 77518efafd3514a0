"""Executes one claimed run: load the graph, stream it with checkpoints fenced by the claim, end it once.

Read `RunExecution.execute` from the top: it is the life of a run as ARCHITECTURE.md numbers it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Literal, cast
from typing import Protocol as Interface

from langchain_core.runnables import RunnableConfig
from langgraph._internal._constants import CONFIG_KEY_STRICT_RESUME
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.errors import GraphDrained, UnknownInterruptError
from langgraph.runtime import RunControl
from langgraph.types import Command, Send, StateSnapshot

from freehold.core import sequence
from freehold.core.caller import LOCAL, Caller
from freehold.core.encode import to_json
from freehold.core.errors import CheckpointsMoved, FreeholdError, GraphError, LeaseLost, StorageUnavailable
from freehold.core.ids import assistant_id
from freehold.core.run import CancelAction, Run, RunStatus, graph_keys
from freehold.core.user import User, user
from freehold.events.log import EventLog
from freehold.graphs.agents.failures import error_type
from freehold.graphs.context import context_of
from freehold.graphs.registry import GraphRegistry
from freehold.storage import sealing
from freehold.storage.checkpointer import create_checkpointer
from freehold.storage.checkpointer.answers import take_back
from freehold.storage.pool import Pool
from freehold.storage.runs import Claimant, Runs
from freehold.storage.store import Stores
from freehold.telemetry import logs
from freehold.telemetry.execution import Observation
from freehold.worker.protocol import Protocol
from freehold.worker.publish import EventWriter
from freehold.worker.stream import INTERRUPT, AnyGraph, Named, Translator, interrupts_on_wire
from freehold.worker.webhooks import WebhookSender

log = logging.getLogger(__name__)

#: Seconds until a run whose database went away is tried again.
POSTPONE_SECONDS = 2.0

#: A graph that is stopped has this long to clean up. One that goes on after that is stopped again, as often as it takes.
CLEANUP_SECONDS = 5.0


@dataclass(frozen=True)
class Needs:
    """What executing runs takes; one per worker process."""

    pool: Pool
    runs: Runs
    events: EventLog
    graphs: GraphRegistry
    stores: Stores
    run_seconds: float
    #: Sends what runs with a webhook leave; None: other processes do.
    webhooks: WebhookSender | None = None


class Slot(Interface):
    """The place an execution takes in its worker, handed on in the transaction that ends its run: the next one begins at once."""

    def claimant(self) -> Claimant | None:
        """Who claims the next run; None where no more are wanted."""

    def hand_on(self, following: Run | None) -> None:
        """Give the place to the run that was claimed. None: there was none to claim, the place is free."""

    def answer_lost(self) -> None:
        """The database went away while it was asked: a run may have been claimed that nobody knows of."""

    def may_linger(self) -> bool:
        """Whether the execution may stay for a while after its place was handed on, because Valkey is away."""


@dataclass(frozen=True)
class Ending:
    """How a run ended and what it leaves on its thread."""

    status: RunStatus
    thread_status: Literal["idle", "interrupted", "error"]
    values: Any = None
    interrupts: Mapping[str, list[dict[str, Any]]] | None = None
    error: dict[str, Any] | None = None


class RunExecution:
    """One claim of one run. `cancel`, `lose` and `drain` may be called on the event loop at any time."""

    def __init__(self, run: Run, needs: Needs, slot: Slot) -> None:
        self.run = run
        self.observation = Observation(run)
        self._needs = needs
        self._slot = slot
        deferred = run.request.durability != "sync"
        self._saver = create_checkpointer(needs.pool, run_id=run.run_id, epoch=run.epoch, deferred=deferred, revives=needs.graphs.revives)
        self._others_may_start = True
        self._control = RunControl()
        self._protocol: Protocol | None = None
        self._task: asyncio.Task[Ending] | None = None
        self._cancel: CancelAction | None = None
        self._stopped_at = 0.0
        self._lost = False
        #: A task asked something. The last values need not show it, where another task ended after it.
        self._asked = False
        self._give_back = False

    def cancel(self, action: CancelAction) -> None:
        """A user wants it to stop. Called again with each renewal of the lease, for as long as it has not ended."""
        if self._cancel is None or time.monotonic() >= self._stopped_at + CLEANUP_SECONDS:
            self._cancel = action
            self._stop()

    def lose(self) -> None:
        """Another worker holds it now: stop, and write nothing more."""
        self._lost = True
        self._stop()

    def drain(self) -> None:
        """Stop at the next step boundary and give the run back."""
        self._give_back = True
        self._control.request_drain()

    def abandon_step(self) -> None:
        """The drain took too long: stop in the middle of the step; it is executed again elsewhere."""
        self._give_back = True
        self._stop()

    def _stop(self) -> None:
        self._stopped_at = time.monotonic()
        if self._task is not None:
            self._task.cancel()

    async def execute(self) -> None:
        """Run to an end, or give the run back. Errors of the graph end the run, never this method."""
        sealing.go_on(self.run.request.origin)
        async with EventWriter(self._needs.events, self.run, self.lose, self._slot.may_linger) as writer:
            begun = {"run_id": str(self.run.run_id), "attempt": self.run.attempt, "started": sequence.base(self.run)}
            writer.emit("metadata", to_json(begun), with_next=True)
            self._task = asyncio.create_task(self._stream(writer), name=f"run-{self.run.run_id}")
            if self._lost or self._cancel:
                self._stop()
            try:
                ending = await self._task
            except asyncio.CancelledError:
                if self._lost or self._cancel or self._give_back:
                    await self._after_stop(writer)
                elif (outer := asyncio.current_task()) and outer.cancelling():
                    self._task.cancel()
                    raise
                else:
                    await self._end(writer, await self._cut_off(_failed(RuntimeError("the graph cancelled its own task"))))
            except (LeaseLost, GraphDrained, StorageUnavailable) as error:
                await self._after_setback(error)
            except Exception as error:  # noqa: BLE001 - users' graphs raise anything; it is the run's result
                if self._cancel:  # it was stopped, and raised on its way out
                    await self._after_stop(writer)
                else:
                    await self._end(writer, await self._cut_off(_failed(error)))
            else:
                await self._end(writer, ending)

    # -- executing -----------------------------------------------------------------------------------------------

    async def _stream(self, writer: EventWriter) -> Ending:
        sealing.refuse_unopened(self.run.request.origin)
        graph_id = self._graph_id()
        config = run_config(self.run, graph_id)
        if self.run.request.event_streaming:
            self._protocol = Protocol(graph_id, sequence.base(self.run), lambda: writer.next_number)
        config["callbacks"] = self.observation.callbacks(graph_id, error_type)
        store = self._needs.stores.of(Caller(self.run.organisation, self.run.owner))
        limit = asyncio.timeout(self._needs.run_seconds)
        try:
            opening = self._needs.graphs.open(graph_id, config, store=store, context=self.run.request.context, user=self._user())
            async with limit, opening as bare:
                graph = bare.copy(update={"checkpointer": self._saver, "store": store})
                values = await self._drive(graph, config, writer)
                return await self._settle(graph, values)
        except TimeoutError:
            if limit.expired():
                return await self._cut_off(self._timed_out())
            raise  # the graph's own

    def _user(self) -> User | None:
        """For the graph's factory: the one the project's own authentication named."""
        return user(self.run.owner, self.run.request.user) if self.run.request.user else None

    async def _drive(self, graph: AnyGraph, config: RunnableConfig, writer: EventWriter) -> Any:
        """Stream the graph to its end and return the last root values."""
        request = self.run.request
        graph_input, resumed = await self._input(config)
        if resumed and await self._reached_breakpoint(graph):
            return None  # to go on would be to pass it without anybody's leave
        options: dict[str, Any] = {
            "context": context_of(graph, request.context),
            "interrupt_before": _nodes(request.interrupt_before),
            "interrupt_after": _nodes(request.interrupt_after),
            "durability": request.durability,
            "control": self._control,
        }
        if self._protocol:
            return await self._drive_protocol(self._protocol, graph, graph_input, config, writer, options)
        translator = Translator(request.stream_mode, subgraphs=request.stream_subgraphs)
        values: Any = None
        parts = translator.parts(graph, graph_input, config, **options)
        try:
            async with aclosing(cast(Any, parts)):
                async for item in parts:
                    namespace, mode, part = item if translator.subgraphs else ((), *item)
                    if mode == "values" and not namespace:
                        values = part
                        self._note(part)
                    for event in translator.events(namespace, mode, part):
                        writer.emit(event.name, event.data, delta=event.delta)
        except GraphDrained:
            raise  # what is open goes on elsewhere
        except Exception as error:
            _emit(writer, translator.last_events(error))
            raise
        _emit(writer, translator.last_events())
        return values

    async def _drive_protocol(
        self, protocol: Protocol, graph: AnyGraph, graph_input: Any, config: RunnableConfig, writer: EventWriter, options: dict[str, Any]
    ) -> Any:
        """The same for a run that is told in the event streaming protocol."""
        _emit(writer, [protocol.started(self.run.attempt)])
        async with protocol.stream(graph, graph_input, config, **options) as events:
            async for event in events:
                _emit(writer, protocol.events(event))
                if event["method"] == "values" and not event["params"]["namespace"]:
                    self._note(protocol.values)
        return protocol.values

    def _note(self, values: Any) -> None:
        """Root values, as they are streamed."""
        self._asked |= isinstance(values, dict) and INTERRUPT in values
        self.observation.values(values)

    def _graph_id(self) -> str:
        """The graph as it was decided when the run was accepted; one accepted before that was stored is a system assistant's."""
        if self.run.request.graph_id:
            return self.run.request.graph_id
        for graph_id in (*self._needs.graphs.graphs, *self._needs.graphs.failures):
            if assistant_id(graph_id) == self.run.assistant_id:
                return graph_id
        raise GraphError(f"the graph of assistant {self.run.assistant_id} is not served any more")

    async def _input(self, config: RunnableConfig) -> tuple[Any, bool]:
        """What to start with; (None, True) to go on from the last checkpoint, where an earlier attempt of this run wrote it."""
        request = self.run.request
        if self.run.epoch > 1:
            latest = await self._saver.aget_tuple({"configurable": {"thread_id": str(self.run.thread_id), "checkpoint_ns": ""}})
            if latest and latest.metadata.get("run_id") == str(self.run.run_id):
                config["configurable"].pop("checkpoint_id", None)
                log.info("run %s goes on from its last checkpoint", self.run.run_id, extra={"action": "run_resumed"})
                return None, True
            if request.command is not None:
                addressed = "checkpoint_id" in config["configurable"]
                return await self._unused(None if addressed else latest, request.command), False
        return (_command(request.command) if request.command is not None else request.input), False

    async def _unused(self, latest: CheckpointTuple | None, asked: Mapping[str, Any]) -> Command[Any] | None:
        """The command of an earlier attempt without the answers that were used, which their tasks keep; None where none is left."""
        answers = asked.get("resume")
        pending = latest.pending_writes or () if latest and answers is not None else ()
        questions = {task_id: value for task_id, channel, value in pending if channel == INTERRUPT}
        used = await take_back(self._needs.pool, self.run.thread_id, self.run.run_id, self.run.epoch, list(questions))
        if not used:
            return _command(asked)
        named = {interrupt.id for values in questions.values() for interrupt in values}
        if not isinstance(answers, Mapping) or not named.intersection(answers):
            return None
        taken = {interrupt.id for task_id in used for interrupt in questions[task_id]}
        left = {name: answer for name, answer in answers.items() if name not in taken}
        return _command({"resume": left}) if left else None  # the update is stored

    async def _reached_breakpoint(self, graph: AnyGraph) -> bool:
        """Whether the attempt before this one had come to a node of interrupt_before, or just left one of interrupt_after."""
        before, after = self.run.request.interrupt_before, self.run.request.interrupt_after
        if not before and not after:
            return False
        here = await graph.aget_state({"configurable": {"thread_id": str(self.run.thread_id)}})
        if here.next and (before == "*" or set(here.next) & set(before)):
            return True
        if not after or not here.next or not here.parent_config or (here.metadata or {}).get("source") != "loop":
            return False
        left = (await graph.aget_state(here.parent_config)).next
        return after == "*" or bool(set(left) & set(after))

    async def _settle(self, graph: AnyGraph, values: Any) -> Ending:
        """Read the state only where the stream did not tell everything: after an interrupt, or when nothing was streamed."""
        stops = self.run.request.interrupt_before or self.run.request.interrupt_after
        if values is not None and not stops and not self._asked:
            return Ending("success", "idle", values)
        snapshot = await graph.aget_state({"configurable": {"thread_id": str(self.run.thread_id)}})
        pending = _pending(snapshot)
        paused = bool(pending or snapshot.next)
        return Ending("success", "interrupted" if paused else "idle", snapshot.values if values is None else values, pending)

    # -- ending --------------------------------------------------------------------------------------------------

    async def _end(self, writer: EventWriter, ending: Ending) -> None:
        """Store the end with the epoch checked, then tell those who watch. In this order: what is announced is stored."""
        try:
            ending, values, won = await self._store(ending)
        except StorageUnavailable:
            log.error("the end of run %s could not be stored; it is executed again", self.run.run_id, extra={"action": "finish_failed"})
            return
        if not won:
            # Two reasons: a rollback asked for in this moment, or another worker holds the run.
            if not await self._roll_back(writer):
                log.warning("run %s was taken by another worker before its end", self.run.run_id, extra={"action": "lease_lost"})
            return
        if ending.error:
            told = ending.error if logs.keeps_content() else ending.error.get("error")
            log.info("run %s ended: %s", self.run.run_id, told, extra={"action": "run_failed"})
        self.observation.ended(ending.status, ending.error, ending.values)
        if ending.error:
            writer.emit("error", to_json(ending.error))
        interrupts = [item for items in (ending.interrupts or {}).values() for item in items]
        if self._protocol:
            _emit(writer, self._protocol.ended(ending.status, ending.thread_status == "interrupted", interrupts, ending.error))
        head = to_json({"status": ending.status, "error": ending.error, "interrupts": interrupts})
        writer.end(head[:-1] + b',"values":' + (values or b"null") + b"}")
        if self.run.request.webhook and self._needs.webhooks:
            self._needs.webhooks.look_now()
        if self._others_may_start:
            await self._needs.events.wake_workers()

    async def _store(self, ending: Ending) -> tuple[Ending, bytes | None, bool]:
        """The ending as it was stored, its values as JSON, and whether the claim still held."""
        try:
            values = _stored_values(ending.values)
            return ending, values, await self._finish(ending, values)
        except StorageUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - a result no JSON or table can hold is the run's failure, not the worker's
            failed = _failed(error)
            return failed, None, await self._finish(failed, None)

    async def _finish(self, ending: Ending, values: bytes | None) -> bool:
        """Patient with a database that restarts: the run is done, only its end is not written yet."""
        asked_before = False
        for pause in (0.2, 0.5, 1, 2, 4, 8, None):
            try:
                if asked_before and await self._has_ended(ending):
                    return True  # it was stored, only the answer was lost
                return await self._finish_once(ending, values)
            except CheckpointsMoved:
                await self._saver.flush()
                return await self._finish_once(ending, values)
            except LeaseLost:
                return False
            except StorageUnavailable:
                if pause is None:
                    raise
                self._slot.answer_lost()
                asked_before = True
                await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def _finish_once(self, ending: Ending, values: bytes | None) -> bool:
        """Store the end and, where the worker goes on, claim what runs in this place next."""
        runs, claimant = self._needs.runs, self._slot.claimant()
        left: dict[str, Any] = {
            "thread_status": ending.thread_status,
            "values": values,
            "interrupts": dict(ending.interrupts or {}),
            "error": ending.error,
            "pending": await self._saver.pending(),
        }
        if claimant is None:
            return await runs.finish(self.run, ending.status, **left)
        won, following = await runs.finish_and_claim(self.run, ending.status, claimant, **left)
        self._slot.hand_on(following)
        # What was claimed may be older than the next run of this thread, which may begin now too.
        self._others_may_start = following is not None and following.thread_id != self.run.thread_id
        return won

    async def _has_ended(self, ending: Ending) -> bool:
        stands = await self._needs.runs.progress(self.run.run_id)
        return stands is not None and (stands.epoch, stands.status) == (self.run.epoch, ending.status)

    async def _after_stop(self, writer: EventWriter) -> None:
        if self._lost:
            self._say_lost()
        elif self._cancel == "rollback":
            await self._roll_back(writer)
        elif self._cancel:
            await self._end(writer, await self._cut_off(Ending("interrupted", "idle")))
        else:
            await self._give_back_run()

    async def _roll_back(self, writer: EventWriter) -> bool:
        """Take the run back where that was asked for and the claim holds."""
        self._saver.discard()
        if not await self._needs.runs.roll_back(self.run):
            return False
        self.observation.ended("rolled_back")
        writer.end(to_json({"status": "interrupted", "error": None, "interrupts": [], "values": None}))
        await self._needs.events.wake_workers()
        return True

    async def _after_setback(self, error: Exception) -> None:
        if isinstance(error, LeaseLost) or self._lost:
            self._say_lost()
        elif isinstance(error, GraphDrained):  # a cancellation asked for meanwhile stays on the run and is seen by the next claim
            await self._give_back_run()
        else:
            self._saver.discard()
            log.error("run %s is tried again: %s", self.run.run_id, logs.told(error), extra={"action": "run_postponed"})
            try:
                await self._needs.runs.postpone(self.run, POSTPONE_SECONDS)
            except StorageUnavailable:
                return  # its lease runs out and the reaper returns it

    async def _give_back_run(self) -> None:
        """Unfinished, with all the steps it took."""
        try:
            await self._saver.flush()
        except LeaseLost:
            self._say_lost()
            return
        await self._needs.runs.release(self.run)
        await self._needs.events.wake_workers()

    def _say_lost(self) -> None:
        self._saver.discard()
        log.warning("run %s is held by another worker now; stopped", self.run.run_id, extra={"action": "lease_lost"})

    async def _cut_off(self, ending: Ending) -> Ending:
        """The ending of a run that could not tell what it leaves: it keeps its checkpoints, and the thread shows what they hold."""
        try:
            graph_id = self._graph_id()
            self.observation.graph_is(graph_id)
            config = run_config(self.run, graph_id)
            async with self._needs.graphs.open(graph_id, config, access="threads.read", user=self._user()) as bare:
                graph = bare.copy(update={"checkpointer": self._saver})
                snapshot = await graph.aget_state({"configurable": {"thread_id": str(self.run.thread_id)}})
        except Exception as error:  # noqa: BLE001 - users' graphs raise anything; the run has ended all the same
            log.warning("the state run %s left cannot be read: %s", self.run.run_id, logs.told(error), extra={"action": "state_unread"})
            return ending
        at_rest = "interrupted" if ending.thread_status == "idle" and snapshot.next else ending.thread_status
        return replace(ending, thread_status=at_rest, values=snapshot.values or None, interrupts=_pending(snapshot))

    def _timed_out(self) -> Ending:
        seconds = self._needs.run_seconds
        message = f"the run took longer than {seconds:g} s (limits.run_seconds)"
        return Ending("timeout", "error", error={"error": "TimeoutError", "message": message})


def _emit(writer: EventWriter, events: Iterable[Named]) -> None:
    for event in events:
        writer.emit(event.name, event.data, delta=event.delta)


def _pending(snapshot: StateSnapshot) -> dict[str, list[dict[str, Any]]]:
    """What a thread waits for, by task."""
    return {task.id: interrupts_on_wire(task.interrupts) for task in snapshot.tasks if task.interrupts}


def _stored_values(values: Any) -> bytes | None:
    """Final values as the thread keeps them; interrupts are kept beside them."""
    if isinstance(values, dict):
        values = {key: value for key, value in values.items() if key != INTERRUPT}
    return None if values is None else to_json(values)


def run_config(run: Run, graph_id: str) -> RunnableConfig:
    """The config a graph sees: what was accepted (`core.assistant.executed`), then ours, which nobody can override.

    Keys that say who somebody is, and LangGraph's own (two underscores), are dropped from what clients send.
    """
    asked = run.request.config
    ids = {"run_id": str(run.run_id), "thread_id": str(run.thread_id), "graph_id": graph_id, "assistant_id": str(run.assistant_id)}
    checkpoint = {
        key: value for key, value in (run.request.checkpoint or {}).items() if key in {"checkpoint_id", "checkpoint_ns"} and value
    }
    whom = user(run.owner, run.request.user)
    configurable = {
        **_client_keys(asked.get("configurable")),
        "checkpoint_ns": "",
        **checkpoint,
        **ids,
        "user_id": _user_id(run),
        "langgraph_auth_user_id": run.owner,
        "langgraph_auth_user": whom,
        "langgraph_auth_permissions": whom["permissions"],
        "langgraph_request_id": run.request.origin.get("request_id"),
        "freehold_organisation": run.organisation,
        "freehold_owner": run.owner,
    }
    config: RunnableConfig = {
        "configurable": configurable,
        "metadata": {**(asked.get("metadata") or {}), **run.metadata, **ids},
        "run_id": run.run_id,
        "tags": list(asked.get("tags") or ()),
    }
    if run.request.strict_resume:
        configurable[CONFIG_KEY_STRICT_RESUME] = True
    limit = asked.get("recursion_limit")
    if isinstance(limit, int):
        config["recursion_limit"] = limit
    return config


def _user_id(run: Run) -> str:
    """Who the run is for. Where nobody has to say who they are, a client may tell its users apart; nowhere else."""
    told = (run.request.config.get("configurable") or {}).get("user_id")
    alone = (run.organisation, run.owner) == (LOCAL.organisation, LOCAL.owner) and run.request.user is None
    return told if alone and isinstance(told, str) else run.owner


def _client_keys(configurable: Any) -> dict[str, Any]:
    if not isinstance(configurable, Mapping):
        return {}
    kept = graph_keys(configurable)
    if isinstance(configurable.get("checkpoint_id"), str):
        kept["checkpoint_id"] = configurable["checkpoint_id"]
    return kept


def _command(asked: Mapping[str, Any]) -> Command[Any]:
    """A client's command `{"resume", "update", "goto"}`; goto is a node name, `{"node", "input"}`, or a list of these."""
    goto = asked.get("goto") or ()
    targets = [
        Send(item["node"], item.get("input")) if isinstance(item, Mapping) else item
        for item in (goto if isinstance(goto, list) else [goto] if goto else [])
    ]
    update = asked.get("update")
    if isinstance(update, list):  # pairs; JSON has no tuples, which is what LangGraph knows them by
        update = [tuple(pair) for pair in update]
    return Command(update=update, resume=asked.get("resume"), goto=cast(Any, targets))


def _nodes(asked: tuple[str, ...] | Literal["*"]) -> Any:
    return asked if asked == "*" else list(asked) or None


def _failed(error: Exception) -> Ending:
    message = error.message if isinstance(error, FreeholdError) else str(error)
    if not isinstance(error, FreeholdError):
        log.warning("a graph raised %s", type(error).__name__, **logs.failure(error, action="graph_raised"))
    # Refused before it began: the thread waits for the same answers as before.
    at_rest: Literal["idle", "error"] = "idle" if isinstance(error, UnknownInterruptError) else "error"
    return Ending("error", at_rest, error={"error": type(error).__name__, "message": message})
