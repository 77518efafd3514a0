"""What became of a run's webhook, and what its deliveries are signed with. Extensions of ours."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from starlette.responses import Response

from freehold.core.caller import Caller
from freehold.server.auth import permit
from freehold.server.json_body import JsonRoute
from freehold.server.parts import Parts
from freehold.server.reply import reply
from freehold.server.wire.webhooks import DeliveryShown, SecretShown, shown

router = APIRouter(route_class=JsonRoute, tags=["webhooks"])


@router.get("/threads/{thread_id}/runs/{run_id}/webhooks", response_model=list[DeliveryShown])
async def of_run(thread_id: UUID, run_id: UUID, caller: Annotated[Caller, permit("threads", "read")], parts: Parts) -> Response:
    """Deliveries of a run's webhook: none before the run has ended, then one with its tries."""
    found = await parts.webhooks.of_run(caller, thread_id, run_id)
    if not found:
        await parts.runs.get(caller, thread_id, run_id)
    return reply([shown(delivery) for delivery in found])


@router.get("/webhooks/secret", response_model=SecretShown)
async def secret(caller: Annotated[Caller, permit("threads", "create_run")], parts: Parts) -> Response:
    """What webhooks of the caller's runs are signed with; the same each time, and another one for each owner."""
    return reply({"secret": await parts.webhooks.secret_of(caller.organisation, caller.owner)}, headers={"Cache-Control": "no-store"})
