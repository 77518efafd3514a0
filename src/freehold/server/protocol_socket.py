"""The event streaming protocol over one WebSocket: commands and events of a thread, both ways.

    client ── commands ──► answered one after the other
    client ◄── events ──── a task for each subscription reads from Valkey no faster than the client takes

Nothing is gathered for a slow client: what it has not taken stays where it is, and the pings of the connection end one that is gone.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, suppress
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from freehold.core import errors, sequence
from freehold.core.caller import Caller
from freehold.core.encode import to_json
from freehold.core.errors import FreeholdError
from freehold.core.ids import new_id
from freehold.server import audit
from freehold.server.auth import Authentication
from freehold.server.commands import METHODS, ProtocolError, answer, refusal
from freehold.server.errors import status_of
from freehold.server.guard import CREDENTIAL_PROTOCOLS
from freehold.server.json_body import parse
from freehold.server.parts import ServerParts
from freehold.server.protocol_events import Numbered, ProtocolFollower
from freehold.server.wire.streams import Again, Command, Subscription
from freehold.telemetry.metrics import OPEN_STREAMS

log = logging.getLogger(__name__)

#: Subscriptions of one connection.
MOST_SUBSCRIPTIONS = 64

#: A subscription that ends is waited for no longer than this; nothing of it is sent after.
END_SECONDS = 1.0

#: How long the end of a run waits for subscriptions that have not sent all before it.
CATCH_UP_SECONDS = 1.0

#: What a WebSocket is closed with where an HTTP request would get this status: browsers cannot read one that refuses the upgrade.
STATUS_CODES_FROM = 4000

_KEY, _BEARER = CREDENTIAL_PROTOCOLS

_TOO_LARGE = 1009
_INTERNAL = 1011


class _Subscribed:
    """A subscription: what it asked for, how far it is, and how far the others were when it began."""

    def __init__(self, asked: Subscription, since: int, others: dict[str, _Subscribed]) -> None:
        self.asked = asked
        self.position = self.began_at = since
        #: Up to here everything was read, and sent where it was wanted.
        self.through = since
        self._others = others
        self._heads = {name: other.position for name, other in others.items()}
        self.task: asyncio.Task[None] | None = None
        self.is_over = False

    def was_sent(self, event: Numbered) -> bool:
        """Whether another subscription of the connection has sent this since this one began: clients take it for all of theirs."""
        if event.place is None or event.number is None:
            return False
        for name, other in self._others.items():
            if other is self or other.asked.watches_only or not other.asked.wants(event.place):
                continue  # one that watches only is not told everything it asks for
            if self._heads.get(name, other.began_at) < event.number <= other.position:
                return True
        return False


class ProtocolSocket:
    """One connection. `serve` ends when it is closed."""

    def __init__(self, websocket: WebSocket, parts: ServerParts, thread_id: UUID) -> None:
        self._websocket = websocket
        self._parts = parts
        self._thread_id = thread_id
        self._connection = with_offered_credential(websocket)
        self._most_bytes = int(parts.settings.limits.request_body_mb * 1024 * 1024)
        self._sending = asyncio.Lock()
        self._progress = asyncio.Condition()
        self._subscriptions: dict[str, _Subscribed] = {}

    async def serve(self) -> None:
        """Accept, answer commands and send events, until either side closes."""
        await self._websocket.accept(subprotocol=_chosen(self._websocket))
        try:
            await self._reader()
            with OPEN_STREAMS.track_inprogress():
                await self._answer_for_ever()
        except WebSocketDisconnect:
            pass
        except FreeholdError as error:
            audit.outcome(self._connection, status_of(error), {"thread_id": str(self._thread_id)})
            await self._close(STATUS_CODES_FROM + status_of(error), error.message)
        except HTTPException as error:  # what the project's own authentication raises
            audit.outcome(self._connection, error.status_code, {"thread_id": str(self._thread_id)})
            await self._close(STATUS_CODES_FROM + error.status_code, str(error.detail))
        except Exception:
            # The top of a connection: the client learns that it is over.
            log.exception("a WebSocket failed", extra={"action": "socket_failed"})
            await self._close(_INTERNAL, "internal error")
        finally:
            await self._end_subscriptions(list(self._subscriptions))

    async def _reader(self) -> Caller:
        """Who reads here. Raises Unauthenticated, Forbidden."""
        authentication: Authentication = self._websocket.app.state.authentication
        return await authentication.permitted(self._connection, "threads", "read")

    async def _answer_for_ever(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text: bytes = message.get("bytes") or (message.get("text") or "").encode()
            if len(text) > self._most_bytes:
                await self._close(_TOO_LARGE, "the message is too large")
                return
            await self._send(to_json(await self._answer(text)))

    async def _answer(self, text: bytes) -> dict[str, Any]:
        try:
            given = parse(text)
        except HTTPException as error:
            return refusal(None, "invalid_argument", error.detail)
        try:
            command = Command.model_validate(given)
        except ValidationError:
            return refusal(None, "invalid_argument", "Protocol commands must include an integer id and string method.")
        own = {
            "subscription.subscribe": self._subscribe,
            "subscription.unsubscribe": self._unsubscribe,
            "subscription.reconnect": self._take_up_again,
        }.get(command.method)
        if own is None or command.method in METHODS:
            try:
                return await answer(self._parts, self._connection, self._thread_id, command)
            except errors.QuotaExceeded as error:
                return refusal(command.id, "unknown_error", str(error))
        try:
            return {"type": "success", "id": command.id, "result": await own(command.params)}
        except ProtocolError as error:
            return refusal(command.id, error.code, str(error))
        except ValidationError as error:
            return refusal(command.id, "invalid_argument", error.errors(include_url=False)[0]["msg"])
        except errors.InvalidRequest as error:
            return refusal(command.id, "invalid_argument", error.message)

    # -- subscriptions -------------------------------------------------------------------------------------------

    async def _subscribe(self, params: dict[str, Any]) -> dict[str, Any]:
        asked = Subscription.model_validate(params)
        return {"subscription_id": await self._begin(asked, asked.since or 0), "replayed_events": 0}

    async def _take_up_again(self, params: dict[str, Any]) -> dict[str, Any]:
        asked = Again.model_validate(params)
        since = max(asked.since or 0, sum(sequence.parse(asked.last_event_id)))
        return {"restored": since > 0, "subscription_id": await self._begin(asked, since)}

    async def _unsubscribe(self, params: dict[str, Any]) -> dict[str, Any]:
        name = str(params.get("subscription_id"))[:100]
        if name not in self._subscriptions:
            raise ProtocolError("no_such_subscription", f"Unknown subscription: {name}")
        await self._end_subscriptions([name])
        return {}

    async def _begin(self, asked: Subscription, since: int) -> str:
        if len(self._subscriptions) >= MOST_SUBSCRIPTIONS:
            raise ProtocolError("invalid_argument", f"a connection has {MOST_SUBSCRIPTIONS} subscriptions at most")
        name = str(new_id())
        subscribed = _Subscribed(asked, since, self._subscriptions)
        follower = ProtocolFollower(self._parts, await self._reader(), self._thread_id, asked, since, may_be_missing=True)
        self._subscriptions[name] = subscribed
        subscribed.task = asyncio.create_task(self._pump(subscribed, follower), name=f"subscription-{name}")
        return name

    async def _pump(self, subscribed: _Subscribed, follower: ProtocolFollower) -> None:
        try:
            async with aclosing(follower.batches()) as batches:
                async for batch in batches:
                    for event in batch:
                        if event.ends_a_run and event.number:
                            await self._let_others_catch_up(subscribed, event.number - 1)
                        if not subscribed.was_sent(event):
                            await self._send(event.data, subscribed, event.number)
                    await self._came_to(subscribed, follower.position)
        except (WebSocketDisconnect, RuntimeError):
            return  # it was closed while something was being sent
        except Exception:
            # The top of a task nobody waits for: the connection ends, and the client begins anew where it was.
            log.exception("a subscription failed", extra={"action": "subscription_failed"})
            await self._close(_INTERNAL, "internal error")

    async def _came_to(self, subscribed: _Subscribed, number: int) -> None:
        subscribed.through = max(subscribed.through, number)
        async with self._progress:
            self._progress.notify_all()

    async def _let_others_catch_up(self, subscribed: _Subscribed, number: int) -> None:
        """Clients pause what they read at the end of a run: nothing that came before it may come after it, in whatever subscription."""
        await self._came_to(subscribed, number)
        with suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP_SECONDS), self._progress:
                await self._progress.wait_for(lambda: all(one.is_over or one.through >= number for one in self._subscriptions.values()))

    async def _end_subscriptions(self, names: list[str]) -> None:
        ended = [self._subscriptions.pop(name) for name in names]
        for subscribed in ended:
            subscribed.is_over = True
            if subscribed.task:
                subscribed.task.cancel()
        tasks = [subscribed.task for subscribed in ended if subscribed.task]
        if tasks:
            await asyncio.wait(tasks, timeout=END_SECONDS)

    # -- sending -------------------------------------------------------------------------------------------------

    async def _send(self, data: bytes, subscribed: _Subscribed | None = None, number: int | None = None) -> None:
        async with self._sending:
            if subscribed and subscribed.is_over:
                return
            await self._websocket.send_text(data.decode())
            if subscribed and number:
                subscribed.position = max(subscribed.position, number)

    async def _close(self, code: int, reason: str) -> None:
        if self._websocket.application_state == WebSocketState.CONNECTED:
            try:
                await self._websocket.close(code, reason.encode()[:120].decode(errors="ignore"))
            except RuntimeError:
                return  # the other side was faster


def with_offered_credential(websocket: WebSocket) -> HTTPConnection:
    """The connection as authentication reads it, with what a browser put into the subprotocols as the header it stands for."""
    headers = list(websocket.scope["headers"])
    for offered in _offered(websocket):
        if offered.startswith(_KEY):
            headers.append((b"x-api-key", offered.removeprefix(_KEY).encode()))
        elif offered.startswith(_BEARER):
            headers.append((b"authorization", b"Bearer " + offered.removeprefix(_BEARER).encode()))
    return HTTPConnection({**websocket.scope, "headers": headers})


def _chosen(websocket: WebSocket) -> str | None:
    """The first that carries no credential; browsers insist on one they offered."""
    return next((offered for offered in _offered(websocket) if not offered.startswith((_KEY, _BEARER))), None)


def _offered(websocket: WebSocket) -> list[str]:
    return [str(offered) for offered in websocket.scope.get("subprotocols", ())]
