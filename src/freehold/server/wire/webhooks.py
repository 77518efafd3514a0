"""Webhook deliveries on the wire. Ours: LangGraph's own servers do not tell what became of one."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel

from freehold.core.webhook import Delivery, DeliveryStatus
from freehold.server.wire.body import JsonObject


class DeliveryShown(BaseModel):
    """A delivery as clients see it. `delivery_id` is what its receiver gets as `webhook-id`."""

    delivery_id: UUID
    url: str
    status: DeliveryStatus
    attempts: int
    last_status: int | None
    last_error: str | None
    next_try_at: datetime | None
    created_at: datetime
    updated_at: datetime
    delivered_at: datetime | None


class SecretShown(BaseModel):
    """What deliveries of the caller's runs are signed with."""

    secret: str


def shown(delivery: Delivery) -> JsonObject:
    """A row as `DeliveryShown`."""
    return {name: getattr(delivery, name) for name in DeliveryShown.model_fields}
