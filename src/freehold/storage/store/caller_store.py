"""One caller's store: what requests read and write, and what graphs that run for the caller get as `runtime.store`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import psycopg
from langgraph.store.base import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    TTLConfig,
    validate_op_namespace,
)
from psycopg import AsyncConnection, sql
from psycopg.rows import DictRow

from freehold.core.caller import Caller
from freehold.core.errors import InvalidRequest
from freehold.storage import queries
from freehold.storage.pool import Pool, as_caller, unstorable
from freehold.storage.store.conditions import Conditions
from freehold.storage.store.semantic import INDEXED_DIMS, Semantic

SQL = queries.load("store")

#: Bytes of a value as JSON, of a namespace and of a key; the last two must fit into an index.
MAX_VALUE_BYTES = 4 * 1024 * 1024
MAX_NAMESPACE_BYTES = 1024
MAX_KEY_BYTES = 1024

#: A hundred years, in minutes.
MAX_TTL = 100 * 365 * 24 * 60

#: Up to so many vectors a search compares with each of them, some milliseconds; above it walks a graph, where there is one.
EXACT_UP_TO = 20_000

Connection = AsyncConnection[DictRow]


@dataclass(frozen=True)
class _Put:
    """A put with everything worked out that does not need the database."""

    prefix: str
    key: str
    #: None deletes.
    value: bytes | None = None
    ttl: float | None = None
    #: What it is to be found by, by the place of each text in the value, and their vectors in the same order.
    texts: Mapping[str, str] = field(default_factory=dict)
    vectors: Sequence[str] = ()


@dataclass(frozen=True)
class _Search:
    prefix: str
    asked: SearchOp
    #: The question's vector; None: not a search by meaning.
    vector: str | None


_Prepared = GetOp | ListNamespacesOp | _Put | _Search


class CallerStore(BaseStore):
    """The items of one caller. Namespaces are kept as given; another caller's items of the same name are other items."""

    supports_ttl = True

    def __init__(self, pool: Pool, caller: Caller, *, ttl: TTLConfig, semantic: Semantic | None) -> None:
        self._pool = pool
        # A store has one owner: what handlers decided about objects with metadata does not widen it.
        self._caller = replace(caller, shared=False, must="{}")
        self._semantic = semantic
        self._loop = asyncio.get_running_loop()
        self.ttl_config = ttl

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """From a node that is no coroutine, which runs in a thread of its own. Raises RuntimeError on the event loop itself."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run_coroutine_threadsafe(self.abatch(ops), self._loop).result()
        raise RuntimeError("the store was called without await in a coroutine; use its methods aget, aput, asearch, adelete")

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """All of them in one transaction, in this order. Embedding happens before it begins.

        Raises:
            InvalidNamespaceError: a namespace that cannot be one (a ValueError).
            InvalidRequest: something that cannot be stored or asked.
            StorageUnavailable: the database does not answer.
        """
        prepared = await self._embedded([await self._prepare(op) for op in ops])
        order = list(range(len(prepared)))
        if all(isinstance(one, _Put) for one in prepared):
            # Rows are locked in one order, so that two batches never wait for each other; for one name the last put still wins.
            order.sort(key=lambda place: _name_of(prepared[place]))
        results: dict[int, Result] = {}
        try:
            async with as_caller(self._pool, self._caller) as conn:
                for place in order:
                    results[place] = await self._execute(conn, prepared[place])
        except psycopg.DataError as error:
            raise unstorable(error, "an item of the store") from error
        return [results[place] for place in range(len(prepared))]

    async def _embedded(self, prepared: list[_Prepared]) -> list[_Prepared]:
        """The same with the vectors of all puts, made in one call."""
        puts = {place: one for place, one in enumerate(prepared) if isinstance(one, _Put) and one.texts}
        if not self._semantic or not puts:
            return prepared
        vectors = dict(zip(puts, await self._semantic.vectors([put.texts for put in puts.values()]), strict=True))
        return [
            replace(one, vectors=vectors[place]) if place in puts and isinstance(one, _Put) else one for place, one in enumerate(prepared)
        ]

    async def _prepare(self, op: Op) -> _Prepared:
        validate_op_namespace(op)
        if isinstance(op, PutOp):
            return self._prepare_put(op)
        if isinstance(op, SearchOp):
            by_meaning = self._semantic and op.query and op.query.strip()
            vector = await self._semantic.query(op.query) if self._semantic and by_meaning and op.query else None
            return _Search(_prefix(op.namespace_prefix), op, vector)
        if isinstance(op, GetOp):
            _check_name(_prefix(op.namespace), op.key)
        return op

    def _prepare_put(self, op: PutOp) -> _Put:
        prefix = _prefix(op.namespace)
        _check_name(prefix, op.key)
        if op.ttl is not None and not 0 < op.ttl <= MAX_TTL:
            raise InvalidRequest(f"ttl: expected minutes above 0 and up to {MAX_TTL}, got {op.ttl}")
        if op.value is None:
            return _Put(prefix, op.key)
        value = _encoded(op.value)
        if self._semantic is None or op.index is False:
            return _Put(prefix, op.key, value, op.ttl)
        return _Put(prefix, op.key, value, op.ttl, self._semantic.texts(orjson.loads(value), op.index))

    async def _execute(self, conn: Connection, one: _Prepared) -> Result:
        if isinstance(one, GetOp):
            return await self._get(conn, one)
        if isinstance(one, _Put):
            await self._put(conn, one)
            return None
        if isinstance(one, _Search):
            return await self._search(conn, one)
        return await self._namespaces(conn, one)

    async def _get(self, conn: Connection, op: GetOp) -> Item | None:
        name = {**self._caller.arguments(), "prefix": _prefix(op.namespace), "key": op.key}
        row = await (await conn.execute(SQL["get"], name)).fetchone()
        if row is None:
            return None
        if op.refresh_ttl:
            await self._refresh(conn, [row])
        return Item(**_named(row))

    async def _put(self, conn: Connection, put: _Put) -> None:
        name = {**self._caller.arguments(), "prefix": put.prefix, "key": put.key}
        if put.value is None:
            await conn.execute(SQL["delete"], name)
            return
        row = await (await conn.execute(SQL["put"], {**name, "value": put.value.decode(), "ttl": put.ttl})).fetchone()
        assert row is not None
        item = {**self._caller.arguments(), "item_id": row["item_id"]}
        await conn.execute(SQL["forget_vectors"], item)
        if put.vectors and self._semantic:
            kind = {"model": self._semantic.model, "dims": self._semantic.dims}
            await conn.execute(SQL["add_vectors"], {**item, **kind, "fields": list(put.texts), "embeddings": list(put.vectors)})

    async def _search(self, conn: Connection, search: _Search) -> list[SearchItem]:
        asked = search.asked
        conditions = Conditions()
        conditions.below(search.prefix)
        conditions.filtered(asked.filter or {})
        arguments = {**self._caller.arguments(), **conditions.parameters, "limit": asked.limit, "offset": asked.offset}
        if search.vector is not None and self._semantic:
            arguments |= {"vector": search.vector, "model": self._semantic.model, "dims": self._semantic.dims}
            rows = await self._nearest(conn, search, conditions, arguments)
        elif asked.query and asked.query.strip():
            query = sql.SQL(SQL["search_words"]).format(conditions=conditions.sql())
            rows = await _rows(conn, query, {**arguments, "query": asked.query.replace("\0", "")})
        else:
            rows = await _rows(conn, sql.SQL(SQL["search"]).format(conditions=conditions.sql()), arguments)
        if asked.refresh_ttl:
            await self._refresh(conn, rows)
        return [SearchItem(**_named(row), score=row["score"]) for row in rows]

    async def _nearest(self, conn: Connection, search: _Search, conditions: Conditions, arguments: dict[str, Any]) -> list[DictRow]:
        exact = sql.SQL(SQL["nearest"]).format(conditions=conditions.sql())
        if self._semantic is None or self._semantic.dims not in INDEXED_DIMS:
            return await _rows(conn, exact, arguments)
        scope = Conditions()
        scope.below(search.prefix)
        breadth = sql.SQL(SQL["breadth"]).format(scope=scope.sql())
        bound = {**self._caller.arguments(), **scope.parameters, "bound": EXACT_UP_TO + 1}
        if (await _rows(conn, breadth, bound))[0]["vectors"] <= EXACT_UP_TO:
            return await _rows(conn, exact, arguments)
        await conn.execute(SQL["tune"])
        graph = sql.SQL(SQL["nearest_by_graph"]).format(conditions=conditions.sql(), dims=sql.Literal(self._semantic.dims))
        found = await _rows(conn, graph, {**arguments, "candidates": 4 * (arguments["limit"] + arguments["offset"])})
        # Fewer than asked for: there are no more, or the walk met its limit among what the filter leaves out.
        return found if len(found) == arguments["limit"] else await _rows(conn, exact, arguments)

    async def _refresh(self, conn: Connection, rows: Sequence[DictRow]) -> None:
        keys: dict[str, list[str]] = {}
        for row in rows:
            if row["ttl_minutes"] is not None:
                keys.setdefault(row["prefix"], []).append(row["key"])
        for prefix, of_prefix in keys.items():
            await conn.execute(SQL["refresh"], {**self._caller.arguments(), "prefix": prefix, "keys": of_prefix})

    async def _namespaces(self, conn: Connection, op: ListNamespacesOp) -> list[tuple[str, ...]]:
        conditions = Conditions()
        for wanted in op.match_conditions or ():
            conditions.matching(wanted)
        query = sql.SQL(SQL["namespaces"]).format(conditions=conditions.sql())
        page = {"depth": op.max_depth, "limit": op.limit, "offset": op.offset}
        rows = await _rows(conn, query, {**self._caller.arguments(), **conditions.parameters, **page})
        return [_labels(row["namespace"]) for row in rows]


async def _rows(conn: Connection, query: sql.Composed, arguments: Mapping[str, Any]) -> list[DictRow]:
    return await (await conn.execute(query, arguments)).fetchall()


def _name_of(one: _Prepared) -> tuple[str, str]:
    return (one.prefix, one.key) if isinstance(one, _Put) else ("", "")


def _prefix(namespace: Sequence[str]) -> str:
    return ".".join(namespace)


def _labels(prefix: str) -> tuple[str, ...]:
    return tuple(prefix.split("."))


def _named(row: DictRow) -> dict[str, Any]:
    return {
        "namespace": _labels(row["prefix"]),
        "key": row["key"],
        "value": row["value"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }


def _check_name(prefix: str, key: str) -> None:
    for name, text, most in (("namespace", prefix, MAX_NAMESPACE_BYTES), ("key", key, MAX_KEY_BYTES)):
        if "\0" in text:
            raise InvalidRequest(f"{name} contains a NUL character (\\u0000), which cannot be stored", hint="remove it")
        if len(text.encode("utf-8", "surrogatepass")) > most:
            raise InvalidRequest(f"{name} is longer than {most} bytes")


def _encoded(value: Mapping[str, Any]) -> bytes:
    """A value as JSON. Raises TypeError where it has no form in JSON, InvalidRequest where it is too large or holds a NUL."""
    try:
        text = orjson.dumps(dict(value), option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError:  # integers beyond 64 bits, which Python's own encoder writes; it raises for all else
        text = json.dumps(dict(value), ensure_ascii=False).encode()
    if len(text) > MAX_VALUE_BYTES:
        raise InvalidRequest(
            f"value: {len(text)} bytes as JSON, {MAX_VALUE_BYTES} at most", hint="keep large things elsewhere, and their address here"
        )
    return text
