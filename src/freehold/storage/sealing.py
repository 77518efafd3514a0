"""A project's own encryption (`langgraph_sdk.Encryption`): what is stored is sealed on its way to the driver, and opened on its way back.

One layer for every statement, because a forgotten place would be clear text: `sealed_cursor` gives the pool's connections a cursor that
seals the arguments listed in `_SEALED` and opens whatever bears the mark, wherever it stands in a row. Without `encryption` in
langgraph.json none of this is in the way. SQL goes on reading what it decides by (`_CLEAR`); what it would have to read and
cannot is refused by name.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import orjson
import ormsgpack
from langgraph_sdk import Encryption, EncryptionContext
from langgraph_sdk.encryption.types import DecryptResult
from psycopg import AsyncCursor
from psycopg.types.json import Jsonb

from freehold.core.errors import EncryptionFailed, InvalidRequest, NotSupported
from freehold.storage import queries

log = logging.getLogger(__name__)

#: Key of a sealed object that holds the context it was sealed with, and of what is no object where it stands in one.
MARK = "__encryption__"
BARE = "__value__"

#: How sealed bytes begin.
_MAGIC = b"\xffFH\x01"

#: Characters of X-Encryption-Context that are read; it is stored with every piece.
MOST_CONTEXT = 4096

#: Keys of metadata that the engine wrote and its statements decide by: hooks never see them. The second: of checkpoints.
_CLEAR = frozenset({"assistant_id", "created_by", "cron_id", "cron_run_date", "graph_id", "run_id", "thread_id"})
_CLEAR_OF_CHECKPOINT = _CLEAR | {"checkpoint_id", "checkpoint_ns", "parents", "source", "step"}

#: Fields of a run's request that hold what people and graphs said.
_OF_REQUEST = ("input", "command", "context", "metadata", "user")

#: The context handlers get, of the request that is served or the run that is executed.
current: ContextVar[Mapping[str, Any] | None] = ContextVar("encryption_context", default=None)

#: Key of a run's origin that carries the context to the worker.
_ORIGIN = "encryption"

#: (file, query) -> {argument: (model, field)}; "request" and "interrupts" and "config" are taken apart by themselves.
_SEALED: Mapping[tuple[str, str], Mapping[str, tuple[str, str]]] = {
    ("runs", "enqueue"): {"request": ("run", "request"), "metadata": ("run", "metadata"), "thread_config": ("thread", "config")},
    ("runs", "enqueue_stateless"): {"request": ("run", "request"), "metadata": ("run", "metadata"), "thread_config": ("thread", "config")},
    ("runs", "finish"): {
        "values": ("thread", "values"),
        "interrupts": ("thread", "interrupts"),
        "error": ("run", "error"),
        "thread_error": ("thread", "error"),
    },
    ("threads", "create"): {"metadata": ("thread", "metadata")},
    ("threads", "patch"): {"metadata": ("thread", "metadata")},
    ("threads", "set_state"): {"values": ("thread", "values"), "interrupts": ("thread", "interrupts")},
    ("inbox", "give_up"): {"error": ("thread", "error")},
    ("crons", "create"): {"payload": ("cron", "payload"), "request": ("cron", "request"), "metadata": ("cron", "metadata")},
    ("crons", "change"): {"payload": ("cron", "payload"), "request": ("cron", "request"), "metadata": ("cron", "metadata")},
    ("assistants", "create"): {name: ("assistant", name) for name in ("config", "context", "metadata")},
    ("assistants", "change"): {name: ("assistant", name) for name in ("config", "context", "metadata")},
    ("store", "put"): {"value": ("store", "value")},
    ("tool_calls", "insert"): {"arguments": ("tool_call", "arguments")},
}

#: Columns of the checkpointer that are bytes, by the arguments of its statement.
_BLOBS = ("m_message", "b_value", "c_state", "w_writes")

#: Columns bytes are read from. Others, such as digests, are not sealed.
_BLOB_COLUMNS = frozenset({"message", "state", "value", "writes"})


#: Statements of workers that act for everybody: a row that cannot be opened must not keep them from all others. Of the first its request
#: says that it could not be opened, so that its run fails; of the second it is passed over.
_FLAGGED = (("runs", "claim"), ("runs", "poisoned"), ("crons", "due"))
_SKIPPED = (("webhooks", "claim"), ("inbox", "expired"))

#: Key of the origin of a request that could not be opened.
_UNOPENED = "encryption_failed"


def _statements() -> dict[str, Mapping[str, tuple[str, str]]]:
    return {str(queries.load(file)[name]): sealed for (file, name), sealed in _SEALED.items()}


class Sealing:
    """A project's hooks. Made before they are loaded: until `use`, nothing can be sealed or opened."""

    def __init__(self) -> None:
        self._hooks: Encryption | None = None
        self._statements = _statements()
        self._flagged = frozenset(str(queries.load(file)[name]) for file, name in _FLAGGED)
        self._skipped = frozenset(str(queries.load(file)[name]) for file, name in _SKIPPED)
        #: Goes into the names of stored values, which would otherwise tell who knows a value that it is there.
        self.digest_salt = secrets.token_bytes(16)

    async def use(self, hooks: Encryption) -> None:
        """Take a project's hooks, once they have shown that what they seal can be opened again.

        Raises:
            EncryptionFailed: one is missing, or does not give back what it was given.
        """
        named = {
            "encrypt.blob": hooks._blob_encryptor,
            "decrypt.blob": hooks._blob_decryptor,
            "encrypt.json": hooks._json_encryptor,
            "decrypt.json": hooks._json_decryptor,
        }
        if missing := [name for name, hook in named.items() if hook is None]:
            raise EncryptionFailed(
                f"encryption.path: no handler is registered for {', '.join(missing)}",
                hint="register all four: what one seals another opens",
            )
        self._hooks = hooks
        blob, fields = secrets.token_bytes(64), {"probe": secrets.token_hex(16)}
        try:
            opened = (
                await self.open_bytes(await self.seal_bytes(blob)),
                await self.open_json(await self.seal_json(fields, "probe", "probe")),
            )
        except EncryptionFailed:
            self._hooks = None
            raise
        if opened != (blob, fields):
            self._hooks = None
            raise EncryptionFailed("encryption.path: the handlers do not give back what they were given")

    # -- context -------------------------------------------------------------------------------------------------

    async def enter(self, header: str | None, user: Any) -> None:
        """Let what the present request stores be sealed with its context. Raises InvalidRequest for a header that cannot be read."""
        context = EncryptionContext(metadata=_header(header))
        handler = self._hooks._context_handler if self._hooks else None
        if handler is None:
            current.set(context.metadata)
            return
        try:
            found = await handler(user, context)
            json.dumps(found)
        except Exception as error:
            raise _failed("context", error) from error
        if not isinstance(found, dict):
            raise EncryptionFailed(f"encryption: the context handler gave {type(found).__name__}, not a dict")
        current.set(found)

    # -- bytes ---------------------------------------------------------------------------------------------------

    async def seal_bytes(self, data: bytes) -> bytes:
        hooks, metadata = self._ready(), dict(current.get() or {})
        assert hooks._blob_encryptor
        try:
            sealed = await hooks._blob_encryptor(EncryptionContext("checkpoint", dict(metadata), "blob"), bytes(data))
        except Exception as error:
            raise _failed("encrypt.blob", error) from error
        if not isinstance(sealed, bytes | bytearray):
            raise EncryptionFailed(f"encryption: encrypt.blob gave {type(sealed).__name__}, not bytes")
        return _MAGIC + ormsgpack.packb([orjson.dumps(metadata), bytes(sealed)])

    async def open_bytes(self, data: bytes) -> bytes:
        hooks = self._ready()
        assert hooks._blob_decryptor
        if not data.startswith(_MAGIC):
            raise EncryptionFailed(
                "a stored checkpoint is not encrypted, but this project encrypts",
                hint="threads from before `encryption` was set are refused: delete them, or serve them without it",
            )
        metadata, sealed = ormsgpack.unpackb(data[len(_MAGIC) :])
        try:
            found = await hooks._blob_decryptor(EncryptionContext("checkpoint", orjson.loads(metadata), "blob"), sealed)
        except Exception as error:
            raise _failed("decrypt.blob", error) from error
        opened = found.plaintext if isinstance(found, DecryptResult) else found
        if not isinstance(opened, bytes | bytearray):
            raise EncryptionFailed(f"encryption: decrypt.blob gave {type(opened).__name__}, not bytes")
        return bytes(opened)

    # -- JSON ----------------------------------------------------------------------------------------------------

    async def seal_json(self, value: Any, model: str, field: str, *, clear: Iterable[str] = ()) -> Any:
        """A value as it is stored; objects keep their keys. Null stays null."""
        if value is None or value == {}:
            return value
        hooks, metadata = self._ready(), dict(current.get() or {})
        assert hooks._json_encryptor
        if isinstance(value, dict) and (MARK in value or value.keys() == {BARE}):
            raise InvalidRequest(f'{field}: the keys "{MARK}" and "{BARE}" are taken')
        given = value if isinstance(value, dict) else {BARE: value}
        kept = {key: given[key] for key in given if key in frozenset(clear)}
        secret = {key: item for key, item in given.items() if key not in kept}
        if not secret:
            return value
        try:
            sealed = await hooks._json_encryptor(EncryptionContext(model, dict(metadata), field), dict(secret))
        except Exception as error:
            raise _failed("encrypt.json", error) from error
        if not isinstance(sealed, dict) or sealed.keys() != secret.keys():
            raise EncryptionFailed(
                f"encryption: encrypt.json changed the keys of {model}.{field}", hint="it may change values only, and must keep every key"
            )
        return {**kept, **sealed, MARK: {"context": metadata, "clear": sorted(kept)}}

    async def open_json(self, value: Any) -> Any:
        """A value as it was before it was sealed; sealed parts are found wherever they stand."""
        if isinstance(value, list):
            return [await self.open_json(item) for item in value]
        if not isinstance(value, dict):
            return value
        if MARK not in value:
            return {key: await self.open_json(item) for key, item in value.items()}
        hooks = self._ready()
        assert hooks._json_decryptor
        mark = value[MARK] if isinstance(value[MARK], dict) else {}
        metadata, clear = mark.get("context") or {}, _CLEAR.union(mark.get("clear") or ())
        kept = {key: item for key, item in value.items() if key in clear}
        nested = value.get("configurable")  # sealed by itself, see `_seal_config`
        if isinstance(nested, dict) and MARK in nested:
            kept["configurable"] = await self.open_json(nested)
        sealed = {key: item for key, item in value.items() if key not in kept and key != MARK}
        try:
            found = await hooks._json_decryptor(EncryptionContext(None, dict(metadata), None), sealed)
        except Exception as error:
            raise _failed("decrypt.json", error) from error
        opened = found.plaintext if isinstance(found, DecryptResult) else found
        if not isinstance(opened, dict):
            raise EncryptionFailed(f"encryption: decrypt.json gave {type(opened).__name__}, not a dict")
        return opened[BARE] if opened.keys() == {BARE} else {**kept, **opened}

    # -- statements ----------------------------------------------------------------------------------------------

    async def seal(self, query: Any, arguments: Any) -> Any:
        """Arguments of a statement as they are sent. Raises NotSupported for what cannot be asked of sealed values."""
        if not isinstance(arguments, Mapping):
            return arguments
        if isinstance(query, bytes):
            return await self._seal_checkpoints(arguments)
        if arguments.get("names") and arguments.get("paths"):
            raise NotSupported(
                '"extract" is not supported where the project encrypts', hint="read the thread's values and take it from there"
            )
        if arguments.get("query") and "prefix" in str(query):
            raise NotSupported("the store cannot be searched by words where the project encrypts", hint="filter by a key that stays clear")
        wanted = self._statements.get(query) if isinstance(query, str) else None
        if wanted is None:
            return arguments
        sealed, before = dict(arguments), current.get()
        inherited = _inherited(arguments.get("request"))  # of whoever made the cron, or was asked a question
        if before is None and inherited is not None:
            current.set(inherited)
        try:
            for name, place in wanted.items():
                sealed[name] = await self._seal_argument(arguments.get(name), place, _keys_of(arguments.get("must")))
        finally:
            current.set(before)
        if query == queries.load("tool_calls")["insert"] and sealed.get("error"):
            sealed["error"] = "not kept where the project encrypts"
        return sealed

    async def _seal_argument(self, given: Any, place: tuple[str, str], must: frozenset[str]) -> Any:
        """JSON as psycopg is given it: text, or an object for jsonb."""
        if given is None:
            return None
        if isinstance(given, Jsonb):
            return Jsonb(await self._seal_column(json.loads(json.dumps(given.obj)), place, must))
        return json.dumps(await self._seal_column(json.loads(given), place, must))

    async def _seal_column(self, value: Any, place: tuple[str, str], must: frozenset[str]) -> Any:
        model, field = place
        if field == "error":
            try:
                return await self.seal_json(value, model, field)
            except EncryptionFailed as error:  # a run must be able to end: this says nothing of it
                return {"error": "EncryptionFailed", "message": error.message}
        if field == "request":
            return await self._seal_request(value, model, must)
        if field == "interrupts" and isinstance(value, dict):
            return {task: [await self._seal_interrupt(one) for one in asked] for task, asked in value.items()}
        if field == "config" and isinstance(value, dict):
            return await self._seal_config(value, model)
        return await self.seal_json(value, model, field, clear=_CLEAR | must if field == "metadata" else ())

    async def _seal_request(self, request: dict[str, Any], model: str, must: frozenset[str]) -> dict[str, Any]:
        context = current.get()
        sealed = {**request, "origin": {**(request.get("origin") or {}), **({_ORIGIN: json.dumps(context)} if context else {})}}
        for name in _OF_REQUEST:
            clear = _CLEAR | must if name == "metadata" else ()
            sealed[name] = await self.seal_json(request.get(name), model, name, clear=clear)
        sealed["config"] = await self._seal_config(request.get("config") or {}, model)
        return sealed

    async def _seal_config(self, config: dict[str, Any], model: str) -> dict[str, Any]:
        """What a client gave a graph is sealed by itself: a thread whose run is rolled back gets that of the run before."""
        rest = {key: item for key, item in config.items() if key != "configurable"}
        sealed = dict(await self.seal_json(rest, model, "config"))
        if "configurable" in config:
            sealed["configurable"] = await self.seal_json(config["configurable"], model, "config")
        return sealed

    async def _seal_interrupt(self, asked: Any) -> Any:
        """Only what is asked; until when stays clear, because the database looks for questions that nobody answered."""
        if not isinstance(asked, dict) or asked.get("value") is None:
            return asked
        value = asked["value"]
        sealed = await self.seal_json({"value": value}, "thread", "interrupts")
        if isinstance(value, dict) and isinstance(value.get("expires_in"), int | float):
            return {**asked, "value": {"asked": sealed, "expires_in": value["expires_in"], MARK + "interrupt": True}}
        return {**asked, "value": {"asked": sealed, MARK + "interrupt": True}}

    async def _seal_checkpoints(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        sealed = dict(arguments)
        for name in _BLOBS:
            if name in sealed:
                sealed[name] = await asyncio.gather(*(self.seal_bytes(each) for each in sealed[name]))
        if "c_metadata" in sealed:
            described = [
                self.seal_json(json.loads(each), "checkpoint", "metadata", clear=_CLEAR_OF_CHECKPOINT) for each in sealed["c_metadata"]
            ]
            sealed["c_metadata"] = [json.dumps(each) for each in await asyncio.gather(*described)]
        return sealed

    async def open_row(self, query: Any, row: dict[str, Any]) -> dict[str, Any] | None:
        """A row with the names of its columns; None where it is to be passed over."""
        try:
            return dict(zip(row, await self.open(list(row), list(row.values())), strict=True))
        except EncryptionFailed as error:
            if query in self._skipped:
                log.error("a row was passed over: %s", error.message, extra={"action": "row_not_opened"})
                return None
            if query not in self._flagged:
                raise
            return {name: await self._open_or_flag(name, value, error) for name, value in row.items()}

    async def _open_or_flag(self, name: str, value: Any, error: EncryptionFailed) -> Any:
        if name != "request":
            try:
                return await self._open_column(name, value)
            except EncryptionFailed:
                return {}
        told = {key: item for key, item in value.items() if key not in (*_OF_REQUEST, "config")}
        return {**told, "origin": {**(value.get("origin") or {}), _UNOPENED: error.message}}

    async def open(self, names: Sequence[str], values: Sequence[Any]) -> list[Any]:
        """The values of one row."""
        return list(await asyncio.gather(*(self._open_column(name, value) for name, value in zip(names, values, strict=True))))

    async def _open_column(self, name: str, value: Any) -> Any:
        if name in _BLOB_COLUMNS and isinstance(value, bytes | memoryview):
            return await self.open_bytes(bytes(value))
        if name == "writes" and isinstance(value, list):
            return [[task, await self.open_bytes(packed)] for task, packed in value]
        if name == "interrupts" and isinstance(value, dict):
            return {task: [await self._open_interrupt(one) for one in asked] for task, asked in value.items()}
        if name == "body" and isinstance(value, dict) and isinstance(value.get("interrupts"), dict):
            opened: dict[str, Any] = await self.open_json({key: item for key, item in value.items() if key != "interrupts"})
            return {**opened, "interrupts": await self._open_column("interrupts", value["interrupts"])}
        return await self.open_json(value) if isinstance(value, dict | list) else value

    async def _open_interrupt(self, asked: Any) -> Any:
        value = asked.get("value") if isinstance(asked, dict) else None
        if not isinstance(value, dict) or MARK + "interrupt" not in value:
            return asked
        return {**asked, "value": (await self.open_json(value["asked"]))["value"]}

    def _ready(self) -> Encryption:
        if self._hooks is None:
            raise EncryptionFailed("the project's encryption is not loaded", hint="this process must not read or write its data")
        return self._hooks


def sealed_cursor(sealing: Sealing) -> type[AsyncCursor[Any]]:
    """The cursor of connections whose rows are sealed."""

    class SealedCursor(AsyncCursor[Any]):
        _sent: Any = None

        async def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
            self._sent = query if isinstance(query, str) else None
            return await super().execute(query, await sealing.seal(query, params), **options)

        async def fetchone(self) -> Any:
            row = await super().fetchone()
            return None if row is None else await self._opened(row)

        async def fetchall(self) -> list[Any]:
            rows = await asyncio.gather(*(self._opened(row) for row in await super().fetchall()))
            return [row for row in rows if row is not None]

        async def _opened(self, row: Any) -> Any:
            if isinstance(row, dict):
                return await sealing.open_row(self._sent, row)
            names = [column.name for column in self.description or ()]
            return tuple(await sealing.open(names, row))

    return SealedCursor


def go_on(origin: Mapping[str, str]) -> None:
    """Let what is stored from here on be sealed with the context a run was asked for with."""
    if _ORIGIN in origin:
        current.set(json.loads(origin[_ORIGIN]))


def refuse_unopened(origin: Mapping[str, str]) -> None:
    """Raises EncryptionFailed for a run whose request could not be opened when it was claimed."""
    if _UNOPENED in origin:
        raise EncryptionFailed(origin[_UNOPENED])


def _inherited(request: Any) -> Mapping[str, Any] | None:
    origin = request.obj.get("origin") if isinstance(request, Jsonb) and isinstance(request.obj, dict) else None
    found: Mapping[str, Any] | None = json.loads(origin[_ORIGIN]) if origin and _ORIGIN in origin else None
    return found


def _keys_of(must: Any) -> frozenset[str]:
    """Keys the project's own rules find rows by: sealed, nobody would see the row again."""
    return frozenset(json.loads(must)) if isinstance(must, str) else frozenset()


def _header(text: str | None) -> dict[str, Any]:
    if not text:
        return {}
    if len(text) > MOST_CONTEXT:
        raise InvalidRequest(f"X-Encryption-Context: {MOST_CONTEXT} characters at most")
    try:
        found = json.loads(text if text.lstrip().startswith("{") else base64.b64decode(text, validate=True))
    except ValueError as error:
        raise InvalidRequest("X-Encryption-Context: expected a JSON object in base64") from error
    if not isinstance(found, dict):
        raise InvalidRequest("X-Encryption-Context: expected a JSON object in base64")
    return found


def _failed(hook: str, error: BaseException) -> EncryptionFailed:
    """Without the hook's own words: they may hold what was to be kept secret."""
    return EncryptionFailed(
        f"encryption: the project's handler {hook} raised {type(error).__name__}",
        hint="a key may be missing or wrong; nothing was stored in clear",
    )
