"""The saver LangGraph sees: its contract, for a run (fenced) or alone.

Reading takes two round trips (the checkpoint with its writes, then the messages and values they refer to), storing one.
What an older version or the stock saver stored is read where ours has nothing newer (stock.py).
"""

from __future__ import annotations

import asyncio
import gc
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast
from uuid import UUID

import psycopg
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    PendingWrite,
    get_checkpoint_id,
    get_serializable_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from freehold.core.encode import to_json
from freehold.core.errors import Incompatible, StorageUnavailable
from freehold.storage.checkpointer import upkeep
from freehold.storage.checkpointer.codec import Decoder, Encoder, Fetched, Node, Wanted, pack, unpack
from freehold.storage.checkpointer.messages import ThreadMessages
from freehold.storage.checkpointer.opening import Opening
from freehold.storage.checkpointer.statement import ASIDE, CheckpointRow, Encoded, Pending, WriteRow
from freehold.storage.checkpointer.stock import StockThreads
from freehold.storage.checkpointer.write import PATIENCE_SECONDS, GroupWriter
from freehold.storage.pool import Pool, is_away, salt_of

#: Threads whose messages a saver remembers.
KNOWN_THREADS = 256

#: LangGraph keeps a command as writes of this task: its update, where it goes, and an answer that names no question, until it is taken.
NULL_TASK = "00000000-0000-0000-0000-000000000000"

#: Statements a saver has under way at once, where it serves many threads.
WRITERS = 3

#: Checkpoints read at once where many are listed or walked.
PAGE = 20

T = TypeVar("T")

# No pickle. Which types may be revived is LangGraph's strict list plus the graph's own state types, see
# `env.set_process_defaults`.
_SERDE = JsonPlusSerializer(pickle_fallback=False)

#: A checkpoint with the writes on it, and the positions both refer to.
_COLUMNS = "c.thread_id, c.checkpoint_ns, c.checkpoint_id, c.parent_id, c.state, c.metadata, w.writes, w.positions"
_WRITES = f"""CROSS JOIN LATERAL (
  SELECT array_agg(ARRAY[convert_to(w.task_id, 'UTF8'), w.writes] ORDER BY w.task_path, w.task_id, w.idx) AS writes,
         (COALESCE(c.messages, '{{}}') + COALESCE(range_agg(w.messages), '{{}}'))::text AS positions
    FROM freehold.thread_writes w
   WHERE w.thread_id = c.thread_id AND w.checkpoint_ns = c.checkpoint_ns AND w.checkpoint_id = c.checkpoint_id
     AND w.idx > -{ASIDE}) w"""  # noqa: S608 - a constant

# OFFSET 0 keeps the planner from reading the whole thread and spooling it to disk to join it with one range.
_MESSAGES = """
SELECT m.position, m.type, m.message
  FROM unnest((SELECT range_agg(each::int4multirange) FROM unnest(%s::text[]) AS each)) AS part,
       LATERAL (SELECT position, type, message FROM freehold.thread_messages
                 WHERE thread_id = %s AND position >= lower(part) AND position < upper(part) OFFSET 0) AS m"""


class PostgresSaver(BaseCheckpointSaver[Any]):
    """A checkpointer over a connection pool that opens its connections with `autocommit=True`.

    With `fence` (run id, epoch) it stores only while that claim is the current one: otherwise LeaseLost is raised. A
    `deferred` one returns from storing at once, gathers what comes and stores the rest with `flush`, or has it stored in
    somebody's transaction (`pending`): for whoever sees to that when a run ends. Every
    method raises StorageUnavailable when the database stayed away for `PATIENCE_SECONDS`. `serde` may encrypt: then what
    is not encrypted is refused when read. Use the methods with `a` on the event loop it was made on; those without it
    from other threads, or anywhere when opened with `with PostgresSaver.from_conn_string(url) as saver`.
    """

    def __init__(
        self, pool: Pool, *, serde: SerializerProtocol | None = None, fence: tuple[UUID, int] | None = None, deferred: bool = False
    ) -> None:
        super().__init__(serde=serde or _SERDE)
        self._pool = pool
        self._salt = salt_of(pool)
        self._loop = asyncio.get_running_loop()
        # Threads of a program are divided among several, so that one encodes while another one's statement is under way.
        alone = fence is not None or deferred
        self._writers = [GroupWriter(pool, fence, self, deferred=deferred) for _ in range(1 if alone else WRITERS)]
        #: While a claim holds, nobody else stores or removes messages of its thread.
        self._alone = fence is not None
        self._known: OrderedDict[str, ThreadMessages] = OrderedDict()
        self._learning: dict[str, asyncio.Future[int]] = {}
        self._stock = StockThreads(pool, self.serde)

    @classmethod
    def from_conn_string(cls, conn_string: str, *, serde: SerializerProtocol | None = None, max_size: int = 10) -> Opening[PostgresSaver]:
        """Open a pool of at most `max_size` connections for `async with`, or `with` in a program without event loop."""
        return Opening(conn_string, max_size, lambda pool: cls(pool, serde=serde))

    async def asetup(self) -> None:
        """Create the tables where they are missing; any number of processes may do so at once."""
        await upkeep.create_tables(self._pool)

    def setup(self) -> Awaitable[None]:
        """The same: awaited on the event loop, as with the stock asynchronous saver; called elsewhere, as with the other one."""
        if _running_loop() is self._loop:
            return self.asetup()
        self._from_thread(self.asetup())
        return _Done()

    # -- reading -------------------------------------------------------------------------------------------------

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await _patiently(lambda: self._get_tuple(config))

    async def _get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        thread_id, ns, checkpoint_id = _place(config)
        await self._writer(thread_id).settle(thread_id, ns)
        arguments = (thread_id, ns, checkpoint_id) if checkpoint_id else (thread_id, ns)
        which = "AND c.checkpoint_id = %s" if checkpoint_id else "ORDER BY c.checkpoint_id DESC LIMIT 1"
        rows = await self._rows(
            f"SELECT found.*, following FROM (SELECT COALESCE(max(position) + 1, 0) AS following"  # noqa: S608 - constant parts
            f" FROM freehold.thread_messages WHERE thread_id = %s) AS thread LEFT JOIN LATERAL ("
            f"SELECT {_COLUMNS} FROM freehold.thread_checkpoints c {_WRITES}"
            f" WHERE c.thread_id = %s AND c.checkpoint_ns = %s {which}) AS found ON true",
            (thread_id, *arguments),
        )
        known = self._know(thread_id, rows[0]["following"])
        if rows[0]["checkpoint_id"] is None:
            return await self._stock.get_tuple(config)
        return (await self._tuples(rows, known))[0]

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        for writer in self._writers:
            await writer.settle()
        conditions, arguments = _conditions(config, filter, before)
        listed, last = 0, None
        while limit is None or listed < limit:
            here, values = list(conditions), list(arguments)
            if last is not None:
                here.append("(c.checkpoint_id, c.thread_id, c.checkpoint_ns) < (%s, %s, %s)")
                values += last
            size = PAGE if limit is None else min(PAGE, limit - listed)
            where = f"WHERE {' AND '.join(here)}" if here else ""
            statement = (
                f"SELECT {_COLUMNS} FROM freehold.thread_checkpoints c {_WRITES} {where} "  # noqa: S608 - constant conditions, values as parameters
                f"ORDER BY c.checkpoint_id DESC, c.thread_id DESC, c.checkpoint_ns DESC LIMIT {size}"
            )
            rows, tuples = await _patiently(lambda statement=statement, values=values: self._page(statement, values))  # type: ignore[misc]
            for found in tuples:
                yield found
            listed += len(rows)
            if len(rows) < size:
                break
            last = (rows[-1]["checkpoint_id"], rows[-1]["thread_id"], rows[-1]["checkpoint_ns"])
        if limit is None or listed < limit:
            async for found in self._stock.list(config, filter, before, None if limit is None else limit - listed):
                yield found

    async def aget_delta_channel_history(self, *, config: RunnableConfig, channels: Sequence[str]) -> Mapping[str, DeltaChannelHistory]:
        """See the base class. Ancestors are read a page at a time; what the stock saver stored is walked one by one."""
        thread_id, ns, _ = _place(config)
        found: dict[str, DeltaChannelHistory] = {channel: {"writes": []} for channel in channels}
        remaining = set(channels)
        if not remaining:
            return found
        target = await self.aget_tuple(config)
        parent = target.parent_config["configurable"]["checkpoint_id"] if target and target.parent_config else None
        while parent and remaining:
            tuples = await _patiently(lambda parent=parent: self._ancestors(thread_id, ns, parent))  # type: ignore[misc]
            if not tuples:
                stock = await self._stock.get_tuple(_config(thread_id, ns, parent))
                tuples = [stock] if stock else []
            parent = None
            for ancestor in tuples:
                _collect(found, remaining, ancestor)
                parent = ancestor.parent_config["configurable"]["checkpoint_id"] if ancestor.parent_config else None
        for history in found.values():
            history["writes"].reverse()
        return found

    async def _ancestors(self, thread_id: str, ns: str, checkpoint_id: str) -> list[CheckpointTuple]:
        """A checkpoint and the chain of its parents, at most a page."""
        _, tuples = await self._page(
            "WITH RECURSIVE chain AS ("  # noqa: S608 - constant columns
            " SELECT checkpoint_id, parent_id, 1 AS depth FROM freehold.thread_checkpoints"
            "  WHERE thread_id = %(thread)s AND checkpoint_ns = %(ns)s AND checkpoint_id = %(id)s"
            " UNION ALL SELECT p.checkpoint_id, p.parent_id, depth + 1 FROM chain JOIN freehold.thread_checkpoints p"
            "  ON p.thread_id = %(thread)s AND p.checkpoint_ns = %(ns)s AND p.checkpoint_id = chain.parent_id WHERE depth < %(page)s)"
            f" SELECT {_COLUMNS} FROM chain JOIN freehold.thread_checkpoints c"
            "  ON c.thread_id = %(thread)s AND c.checkpoint_ns = %(ns)s AND c.checkpoint_id = chain.checkpoint_id"
            f" {_WRITES} ORDER BY depth",
            {"thread": thread_id, "ns": ns, "id": checkpoint_id, "page": PAGE},
        )
        return tuples

    async def _page(self, statement: str, arguments: Any) -> tuple[list[dict[str, Any]], list[CheckpointTuple]]:
        rows = await self._rows(statement, arguments)
        return rows, await self._tuples(rows)

    async def _rows(self, statement: str, arguments: Any) -> list[dict[str, Any]]:
        async with self._pool.connection() as conn, conn.cursor(binary=True) as cursor:
            await cursor.execute(statement.encode(), arguments, prepare=True)
            return await cursor.fetchall()

    async def _tuples(self, rows: Sequence[Mapping[str, Any]], known: ThreadMessages | None = None) -> list[CheckpointTuple]:
        parsed = [(row, unpack(row["state"]), _unpacked_writes(row["writes"])) for row in rows]
        wanted: dict[str, Wanted] = {}
        for row, state, writes in parsed:
            collect = wanted.setdefault(row["thread_id"], Wanted())
            collect.positions.append(row["positions"])
            for node in (*state["values"].values(), *(node for _, _, node in writes)):
                collect.add(node)
        fetched = {thread: await self._fetch(thread, want) for thread, want in wanted.items()}
        found = []
        for row, state, writes in parsed:
            stored = state.pop("values")
            with _many_objects():
                found.append(_tuple(row, state, stored, writes, Decoder(self.serde, fetched[row["thread_id"]], known)))
            if known is not None:
                known.newest[row["checkpoint_ns"]] = row["checkpoint_id"], _by_version(state, stored)
            await asyncio.sleep(0)  # a history of long conversations takes long to decode
        return found

    async def _fetch(self, thread_id: str, wanted: Wanted) -> Fetched:
        messages: dict[int, tuple[str, bytes]] = {}
        blobs: dict[bytes, tuple[str, bytes]] = {}
        positions = [each for each in wanted.positions if each != "{}"]
        if not positions and not wanted.digests:
            return Fetched(messages, blobs)
        async with self._pool.connection() as conn, conn.cursor(binary=True, row_factory=psycopg.rows.tuple_row) as cursor:
            if positions:
                await cursor.execute(_MESSAGES, (positions, thread_id))
                with _many_objects():
                    messages = {position: (kind or "msgpack", data) for position, kind, data in await cursor.fetchall()}
            if wanted.digests:
                await cursor.execute(
                    "SELECT digest, type, value FROM freehold.thread_blobs WHERE thread_id = %s AND digest = ANY(%s::bytea[])",
                    (thread_id, list(wanted.digests)),
                )
                blobs = {digest: (kind, data) for digest, kind, data in await cursor.fetchall()}
        return Fetched(messages, blobs)

    # -- storing -------------------------------------------------------------------------------------------------

    async def aput(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions
    ) -> RunnableConfig:
        thread_id, ns, parent_id = _place(config)
        await self._learn(thread_id)
        key = (thread_id, ns, checkpoint["id"])
        described = to_json(get_serializable_checkpoint_metadata(config, metadata)).decode()

        def encode() -> Encoded:
            known = self._known[thread_id]
            encoder = Encoder(self.serde, known, self._salt)
            newest, before = known.newest.get(ns, ("", {}))
            values: dict[str, Node] = {}
            for channel, value in checkpoint["channel_values"].items():
                version, node = before.get(channel, (None, None))
                unchanged = newest == parent_id and channel not in new_versions and version == checkpoint["channel_versions"].get(channel)
                if unchanged and node is not None:
                    encoder.refer(node)
                    values[channel] = node
                else:
                    values[channel] = encoder.node(value)
            known.newest[ns] = checkpoint["id"], _by_version(checkpoint, values)
            state = {name: value for name, value in checkpoint.items() if name not in {"id", "channel_values", "pending_sends"}}
            return [(CheckpointRow(key, parent_id, pack({**state, "values": values}), described), encoder.rows)]

        await self._writer(thread_id).store(thread_id, ns, encode, is_checkpoint=True)
        return _config(*key)

    async def aput_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = "") -> None:
        thread_id, ns, checkpoint_id = _place(config)
        await self._learn(thread_id)
        run = (config.get("metadata") or {}).get("run_id")
        run_id = str(run) if run else None

        def encode() -> Encoded:
            grouped: dict[int, list[tuple[str, Any]]] = {}
            for place, (channel, value) in enumerate(writes):
                # LangGraph gathers the writes of commands: each call for the null task brings those of the calls before it too.
                idx = WRITES_IDX_MAP.get(channel, place if task_id == NULL_TASK else 0)
                if idx < 0:
                    grouped[idx] = []  # one of each special kind
                grouped.setdefault(idx, []).append((channel, value))
            rows: Encoded = []
            for idx, group in grouped.items():
                encoder = Encoder(self.serde, self._known[thread_id], self._salt)
                packed = pack([[channel, encoder.node(value)] for channel, value in group])
                rows.append((WriteRow((thread_id, ns, checkpoint_id or "", task_id, idx), task_path, run_id, packed), encoder.rows))
            return rows

        if writes:
            await self._writer(thread_id).store(thread_id, ns, encode, is_checkpoint=False)

    async def pending(self) -> Pending | None:
        """What a deferred saver has not stored yet, as a statement for the caller's transaction; see `GroupWriter.pending`."""
        return await self._writers[0].pending()

    async def flush(self) -> None:
        """Store what a deferred saver has gathered. Raises LeaseLost, StorageUnavailable; also for what failed before."""
        for writer in self._writers:
            await writer.flush()

    def discard(self) -> None:
        """Forget what a deferred saver has gathered and not stored."""
        for writer in self._writers:
            writer.discard()

    def get_next_version(self, current: Any, channel: None) -> Any:
        """Whole numbers; a thread of the stock saver goes on with its own kind, so that old and new compare."""
        if isinstance(current, str):
            return f"{int(current.split('.')[0]) + 1:032}.{0:016}"
        return 1 if current is None else current + 1

    def _writer(self, thread_id: str) -> GroupWriter:
        return self._writers[hash(thread_id) % len(self._writers)]

    async def _learn(self, thread_id: str) -> None:
        """Know where the messages of a thread end, before the first is stored."""
        if thread_id not in self._known:
            following = await self._following_once(thread_id)
            if thread_id not in self._known:  # another operation of this thread may have been quicker
                self._know(thread_id, following)
        self._known.move_to_end(thread_id)

    async def _following_once(self, thread_id: str) -> int:
        """`following`, asked once for all operations of the thread that begin together."""
        asked = self._learning.get(thread_id)
        if asked is None:
            asked = self._learning[thread_id] = asyncio.ensure_future(self.following(thread_id))
            asked.add_done_callback(lambda _: self._learning.pop(thread_id, None))
        return await asyncio.shield(asked)

    async def following(self, thread_id: str) -> int:
        """The first position of a thread that is free in the database."""
        statement = "SELECT COALESCE(max(position) + 1, 0) AS following FROM freehold.thread_messages WHERE thread_id = %s"
        rows = await _patiently(lambda: self._rows(statement, (thread_id,)))
        return int(rows[0]["following"])

    def forget(self, thread_id: str, following: int = 0) -> None:
        """Nothing is known to be stored of a thread any more; positions go on from there, or higher."""
        if before := self._known.get(thread_id):
            self._known[thread_id] = ThreadMessages(max(following, before.next))

    def _know(self, thread_id: str, following: int) -> ThreadMessages:
        """What is known of a thread whose messages end there; forgotten first, where others may have changed it."""
        known = self._known.get(thread_id)
        if known is None or not self._alone:
            # What is still on its way to the database has taken positions already.
            known = self._known[thread_id] = ThreadMessages(max(following, known.next if known else 0))
        self._known.move_to_end(thread_id)
        if len(self._known) > KNOWN_THREADS:
            in_use = {thread_id}.union(*(writer.threads for writer in self._writers))
            for other in [each for each in self._known if each not in in_use][: len(self._known) - KNOWN_THREADS]:
                del self._known[other]
        return known

    # -- upkeep --------------------------------------------------------------------------------------------------

    async def adelete_thread(self, thread_id: str) -> None:
        """Remove everything of a thread, what the stock saver stored included."""
        await upkeep.delete_threads(self._pool, [thread_id])
        self.forget(thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Remove what runs stored: their checkpoints, and the writes they left on checkpoints of others."""
        async with self._pool.connection() as conn, conn.transaction():
            await upkeep.delete_for_runs(conn, run_ids)
        for thread_id in self._known:
            self.forget(thread_id)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        await upkeep.copy_thread(self._pool, source_thread_id, target_thread_id)
        await self._stock.copy_thread(source_thread_id, target_thread_id)
        self.forget(target_thread_id)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Keep the newest checkpoint of each namespace ("keep_latest") or nothing ("delete").

        With "keep_latest" a delta channel keeps the ancestors it is rebuilt from. A thread that runs meanwhile must not be
        pruned; the server's own pruning sees to that.
        """
        if strategy == "delete":
            for thread_id in thread_ids:
                await self.adelete_thread(thread_id)
            return
        if strategy != "keep_latest":
            raise ValueError(f"strategy: expected 'keep_latest' or 'delete', got {strategy!r}")
        for thread_id in thread_ids:
            await upkeep.keep_latest(self._pool, thread_id)
            self.forget(thread_id)

    # -- for programs without an event loop ----------------------------------------------------------------------

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return self._from_thread(self.aget_tuple(config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        found = self.alist(config, filter=filter, before=before, limit=limit)
        while True:
            try:
                yield self._from_thread(cast(Coroutine[Any, Any, CheckpointTuple], anext(found)))
            except StopAsyncIteration:
                return

    def put(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions
    ) -> RunnableConfig:
        return self._from_thread(self.aput(config, checkpoint, metadata, new_versions))

    def put_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = "") -> None:
        self._from_thread(self.aput_writes(config, writes, task_id, task_path))

    def delete_thread(self, thread_id: str) -> None:
        self._from_thread(self.adelete_thread(thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        self._from_thread(self.adelete_for_runs(run_ids))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        self._from_thread(self.acopy_thread(source_thread_id, target_thread_id))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        self._from_thread(self.aprune(thread_ids, strategy=strategy))

    def get_delta_channel_history(self, *, config: RunnableConfig, channels: Sequence[str]) -> Mapping[str, DeltaChannelHistory]:
        return self._from_thread(self.aget_delta_channel_history(config=config, channels=channels))

    def _from_thread(self, work: Coroutine[Any, Any, T]) -> T:
        if _running_loop() is self._loop:
            work.close()
            raise asyncio.InvalidStateError("this would block the event loop: use the method of the same name that begins with `a`")

        async def consumed() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(consumed(), self._loop).result()


def create_checkpointer(
    pool: Pool,
    *,
    run_id: UUID | None = None,
    epoch: int | None = None,
    deferred: bool = False,
    revives: tuple[tuple[str, ...], ...] = (),
) -> PostgresSaver:
    """The saver for one run (fenced, perhaps deferred), or for reading and hand-made updates (without run).

    Args:
        revives: types that come back as what they were, beside those of the graph's state: `(("my_agent.models", "Plan"),)`.
    """
    fence = (run_id, epoch) if run_id is not None and epoch is not None else None
    return PostgresSaver(pool, serde=_SERDE.with_msgpack_allowlist(revives) if revives else None, fence=fence, deferred=deferred)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class _Done:
    """Awaitable, and no warning where nobody awaits it."""

    def __await__(self) -> Generator[Any, None, None]:
        yield from ()


def _by_version(state: Mapping[str, Any], values: Mapping[str, Node]) -> dict[str, tuple[Any, Node]]:
    return {channel: (state["channel_versions"].get(channel), node) for channel, node in values.items()}


def _place(config: RunnableConfig) -> tuple[str, str, str | None]:
    configurable = config["configurable"]
    checkpoint_id = get_checkpoint_id(config)
    return str(configurable["thread_id"]), str(configurable.get("checkpoint_ns", "")), str(checkpoint_id) if checkpoint_id else None


def _config(thread_id: str, ns: str, checkpoint_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": ns, "checkpoint_id": checkpoint_id}}


def _conditions(
    config: RunnableConfig | None, filter: Mapping[str, Any] | None, before: RunnableConfig | None
) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    arguments: list[Any] = []
    if config:
        configurable = config["configurable"]
        for name in ("thread_id", "checkpoint_ns"):
            if configurable.get(name) is not None:
                conditions.append(f"c.{name} = %s")
                arguments.append(str(configurable[name]))
        if checkpoint_id := get_checkpoint_id(config):
            conditions.append("c.checkpoint_id = %s")
            arguments.append(str(checkpoint_id))
    if filter:
        conditions.append("c.metadata @> %s::jsonb")
        arguments.append(json.dumps(filter))
    if before is not None and (limit := get_checkpoint_id(before)):
        conditions.append("c.checkpoint_id < %s")
        arguments.append(str(limit))
    return conditions, arguments


def _unpacked_writes(stored: Sequence[Sequence[bytes]] | None) -> list[tuple[str, str, Node]]:
    """(task id, channel, node) in the order LangGraph applies them."""
    return [(task.decode(), channel, node) for task, packed in stored or () for channel, node in unpack(packed)]


def _tuple(
    row: Mapping[str, Any], state: dict[str, Any], stored: Mapping[str, Node], writes: Sequence[tuple[str, str, Node]], decoder: Decoder
) -> CheckpointTuple:
    thread_id, ns = row["thread_id"], row["checkpoint_ns"]
    values = {channel: decoder.value(node) for channel, node in stored.items()}
    checkpoint = cast(Checkpoint, {**state, "id": row["checkpoint_id"], "channel_values": values})
    pending: list[PendingWrite] = [(task, channel, decoder.value(node)) for task, channel, node in writes]
    parent = _config(thread_id, ns, row["parent_id"]) if row["parent_id"] else None
    return CheckpointTuple(_config(thread_id, ns, row["checkpoint_id"]), checkpoint, row["metadata"], parent, pending)


def _collect(found: dict[str, DeltaChannelHistory], remaining: set[str], ancestor: CheckpointTuple) -> None:
    """Add one ancestor's share, newest first; a channel whose value is stored there is complete."""
    for write in reversed(ancestor.pending_writes or []):
        if write[1] in remaining:
            found[write[1]]["writes"].append(write)
    for channel in list(remaining & ancestor.checkpoint["channel_values"].keys()):
        found[channel]["seed"] = ancestor.checkpoint["channel_values"][channel]
        remaining.discard(channel)


@contextmanager
def _many_objects() -> Iterator[None]:
    """While many objects are made that all stay, looking for garbage among them is in vain, and half of the work."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def _patiently(operation: Callable[[], Awaitable[T]]) -> T:
    """Read again while the database is away; once more where a checkpoint was pruned between two parts of a reading."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + PATIENCE_SECONDS
    pause = 0.1
    read_in_parts = False
    while True:
        try:
            return await operation()
        except Incompatible:
            if read_in_parts:
                raise
            read_in_parts = True
            continue
        except psycopg.Error as error:
            if not is_away(error):
                raise
            if loop.time() + pause > give_up_at:
                raise StorageUnavailable(
                    f"checkpoints cannot be read: {error}", hint="`freehold status` says whether the database is up"
                ) from error
        await asyncio.sleep(pause)
        pause = min(pause * 2, 2.0)
