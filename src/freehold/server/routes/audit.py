"""The audit log to read, for those who administer an organisation."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel
from starlette.responses import Response

from freehold.core.caller import Caller
from freehold.core.errors import Forbidden
from freehold.core.permissions import allows
from freehold.server.auth import permit
from freehold.server.parts import Parts
from freehold.server.reply import reply
from freehold.storage.audit import AuditFilter, AuditLog

#: What a name may be here; PostgreSQL knows no NUL.
Word = Annotated[str, Query(max_length=200, pattern=r"^[^\x00]*$")]

router = APIRouter(tags=["audit"])


class AuditShown(BaseModel):
    """One thing somebody did, or was refused."""

    entry_id: int
    at: datetime
    owner: str
    credential: str
    action: str
    objects: dict[str, str]
    status: int
    request_id: str
    address: str


@router.get("/audit", response_model=list[AuditShown])
async def read_audit(
    caller: Annotated[Caller, permit("audit", "read")],
    parts: Parts,
    owner: Word | None = None,
    action: Word | None = None,
    since: AwareDatetime | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Response:
    """Who did what in the caller's organisation, newest first.

    `action` is one such as `threads.delete`, or a resource such as `threads`.
    """
    if caller.user is not None and not allows(caller.user.get("permissions") or (), "audit", "read"):
        # The project's own authentication gives nobody this by giving it to everybody.
        raise Forbidden("this user may not read the audit log", hint='its permissions lack "audit:read"')
    wanted = AuditFilter(owner, action, since)
    found = await AuditLog(parts.pool).list(caller, wanted, limit=limit + 1, offset=offset)
    more = {"X-Pagination-Next": str(offset + limit)} if len(found) > limit else {}
    shown = [{name: getattr(entry, name) for name in AuditShown.model_fields} for entry in found[:limit]]
    return reply(shown, headers=more)
