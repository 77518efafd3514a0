"""Webhooks: a run tells a URL how it ended. What a delivery is, how it is signed, and when it is tried again."""

from __future__ import annotations

import base64
import hashlib
import hmac
import random
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

DeliveryStatus = Literal["pending", "delivered", "failed"]

#: Each pause is so many times the one before: with a first one of ten seconds, eight tries take about a day.
BACK_OFF = 4.4

#: However often a delivery failed, or whatever the other side asks for.
LONGEST_PAUSE_SECONDS = 86_400.0


@dataclass(frozen=True)
class Delivery:
    """A row of the webhook_deliveries table: one run's end, on its way to one URL."""

    delivery_id: UUID
    organisation: str
    owner: str
    thread_id: UUID
    run_id: UUID
    url: str
    #: What is sent, but for the time of sending; None once it is over.
    body: dict[str, Any] | None
    status: DeliveryStatus
    attempts: int
    #: HTTP status of the last answer; None where there was none.
    last_status: int | None
    last_error: str | None
    next_try_at: datetime | None
    created_at: datetime
    updated_at: datetime
    delivered_at: datetime | None


def owner_secret(master: str, organisation: str, owner: str) -> str:
    """What deliveries of one owner are signed with, e.g. `whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw`.

    Each owner has their own: with a common one, whoever is reported to could sign reports to others.
    """
    message = b"\0".join((b"freehold webhook", organisation.encode(), owner.encode()))
    return "whsec_" + base64.b64encode(hmac.digest(master.encode(), message, hashlib.sha256)).decode()


def signature_headers(secret: str, delivery_id: UUID, at: int, body: bytes) -> dict[str, str]:
    """Our own header and those of the Standard Webhooks specification.

    Args:
        at: Unix time of sending, in seconds.
    """
    ours = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    key = base64.b64decode(secret.removeprefix("whsec_"))
    standard = hmac.digest(key, f"{delivery_id}.{at}.".encode() + body, hashlib.sha256)
    return {
        "X-Freehold-Signature": f"t={at},v1={ours}",
        "webhook-id": str(delivery_id),
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(standard).decode()}",
    }


def pause_after(attempts: int, first_seconds: float, asked: float | None = None) -> float:
    """Seconds until the next try, a fifth more or less by chance: those that failed together do not come back together.

    Args:
        attempts: how many there were.
        asked: what the other side wants at least.
    """
    planned = first_seconds * BACK_OFF ** (attempts - 1) * random.uniform(0.8, 1.2)  # noqa: S311 - not a secret
    return min(LONGEST_PAUSE_SECONDS, max(planned, asked or 0.0))
