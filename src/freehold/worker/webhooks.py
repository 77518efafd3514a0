"""Sends webhooks: one of a worker's helpers. What is sent was stored when its run ended, so a worker that dies leaves it to others."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx

from freehold import __version__
from freehold.core.encode import to_json
from freehold.core.errors import InvalidRequest, StorageUnavailable
from freehold.core.run import told_config
from freehold.core.webhook import Delivery, pause_after, signature_headers
from freehold.outbound.address import Allowed
from freehold.outbound.policy import UrlPolicy
from freehold.outbound.post import Answer, Poster, Undelivered
from freehold.storage.webhooks import Webhooks
from freehold.telemetry import logs
from freehold.telemetry.metrics import WEBHOOK_DELIVERIES

log = logging.getLogger(__name__)

#: Deliveries that one worker has under way at most.
AT_ONCE = 8

#: What another worker's run left, and what is to be tried again, is seen this much later at most.
LOOK_SECONDS = 5.0

#: Beyond the time a request may take, until a delivery counts as left behind by a worker that died.
LEFT_BEHIND_SECONDS = 30.0

#: Old ones are removed with every so many looks.
FORGET_EVERY = 500

_GONE = 410


@dataclass(frozen=True)
class SendingRules:
    """How deliveries are made: the operator's choice."""

    policy: UrlPolicy
    #: Of the project, e.g. `{"Authorization": "Bearer …"}`; ours win.
    headers: Mapping[str, str]
    #: Where a path, e.g. `/hooks/done`, is sent.
    server_url: str
    attempts: int
    first_pause_seconds: float
    timeout_seconds: float


class WebhookSender:
    """Delivers until its task is cancelled."""

    def __init__(self, webhooks: Webhooks, rules: SendingRules) -> None:
        self._webhooks = webhooks
        self._rules = rules
        self._poster = Poster(rules.policy.allowed, timeout_seconds=rules.timeout_seconds)
        self._wake = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()

    def look_now(self) -> None:
        """A run with a webhook has ended here."""
        self._wake.set()

    async def send_for_ever(self) -> None:
        """Look for deliveries that are due, and make up to `AT_ONCE` of them side by side."""
        looks = 0
        try:
            while True:
                self._wake.clear()
                if await self._look():
                    continue
                if looks % FORGET_EVERY == 0:
                    await self._forget()
                looks += 1
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), LOOK_SECONDS * random.uniform(0.6, 1))  # noqa: S311 - not a secret
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _look(self) -> bool:
        """Start what is due and there is room for; whether there may be more."""
        room = AT_ONCE - len(self._under_way)
        if room <= 0:
            return False
        try:
            claimed = await self._webhooks.claim(room, seconds=self._rules.timeout_seconds + LEFT_BEHIND_SECONDS)
        except StorageUnavailable:
            return False
        except Exception:
            # The top of a loop that must not end while the worker lives: nobody else may be there to send.
            log.exception("webhooks could not be looked for; it is tried again", extra={"action": "webhooks_failed"})
            return False
        for delivery in claimed:
            task = asyncio.create_task(self._deliver(delivery), name=f"webhook-{delivery.delivery_id}")
            self._under_way.add(task)
            task.add_done_callback(self._has_room)
        return bool(claimed) and len(claimed) == room

    def _has_room(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._wake.set()

    async def _forget(self) -> None:
        with suppress(StorageUnavailable):
            await self._webhooks.forget()

    async def _deliver(self, delivery: Delivery) -> None:
        """One try, and what came of it. One that cannot even be noted is tried again by whoever claims it next."""
        try:
            await self._note(delivery, await self._try(delivery))
        except StorageUnavailable as error:
            log.warning("what came of a webhook is not noted: %s", error.message, extra={"action": "webhook_not_noted"})
        except Exception as error:  # noqa: BLE001 - the top of a task; the claim runs out and it is tried again
            log.error("a webhook could not be sent", **logs.failure(error, action="webhook_crashed"))

    async def _try(self, delivery: Delivery) -> Answer | str:
        """The answer, or why there is none."""
        if delivery.body is None or delivery.attempts > self._rules.attempts:
            return "the workers that tried to send it died"
        try:
            url = self._rules.policy.parse(delivery.url)
            body = _body(delivery)
            headers = await self._headers(delivery, body)
            if url.host:
                return await self._poster.post(url, headers, body)
            return await self._poster.post(self._own(url), headers, body, allowed=self._own_address())
        except (Undelivered, InvalidRequest) as error:  # the second: the rules have become stricter since
            return error.message

    async def _headers(self, delivery: Delivery, body: bytes) -> dict[str, str]:
        secret = await self._webhooks.secret_of(delivery.organisation, delivery.owner)
        ours = {
            "Content-Type": "application/json",
            "User-Agent": f"freehold/{__version__}",
            "X-Freehold-Attempt": str(delivery.attempts),
            **signature_headers(secret, delivery.delivery_id, int(time.time()), body),
        }
        taken = {name.lower() for name in ours} | {"host", "content-length", "transfer-encoding", "connection"}
        return {**{name: value for name, value in self._rules.headers.items() if name.lower() not in taken}, **ours}

    def _own(self, path: httpx.URL) -> httpx.URL:
        return httpx.URL(self._rules.server_url.rstrip("/") + path.raw_path.decode("ascii"))

    def _own_address(self) -> Allowed:
        return Allowed.parse([httpx.URL(self._rules.server_url).host])

    async def _note(self, delivery: Delivery, came: Answer | str) -> None:
        status = came.status if isinstance(came, Answer) else None
        if status is not None and 200 <= status < 300:
            await self._webhooks.delivered(delivery, status)
            WEBHOOK_DELIVERIES.labels("delivered").inc()
            return
        error = came if isinstance(came, str) else f"answered {status}"
        is_over = status == _GONE or delivery.attempts >= self._rules.attempts
        asked = came.retry_after if isinstance(came, Answer) else None
        pause = None if is_over else pause_after(delivery.attempts, self._rules.first_pause_seconds, asked)
        await self._webhooks.failed(delivery, error, status=status, again_in=pause)
        WEBHOOK_DELIVERIES.labels("given_up" if is_over else "failed").inc()
        log.warning(
            "webhook of run %s, try %d: %s; %s",
            delivery.run_id,
            delivery.attempts,
            error,
            "given up" if pause is None else f"tried again in {pause:.0f} s",
            extra={"action": "webhook_given_up" if is_over else "webhook_failed", "delivery": str(delivery.delivery_id)},
        )


def _body(delivery: Delivery) -> bytes:
    """The run as clients know it, with what is known only now. Interrupts are told where the run waits for an answer."""
    body = dict(delivery.body or {})
    if kwargs := body.get("kwargs"):
        body["kwargs"] = {**kwargs, "config": told_config(kwargs.get("config") or {})}
    interrupts = [item for items in (body.pop("interrupts", None) or {}).values() for item in items]
    return to_json({**body, **({"interrupts": interrupts} if interrupts else {}), "webhook_sent_at": datetime.now(UTC).isoformat()})
