"""Rules that go by ids and cookies: one thread may not be changed, and runs are of a team whatever clients say."""

from __future__ import annotations

from typing import Any

from langgraph_sdk import Auth

auth = Auth()

#: A thread nobody may change, and an assistant nobody may use.
CLOSED = "00000000-0000-4000-8000-00000000c105"


@auth.authenticate
async def authenticate(headers: dict[bytes, bytes]) -> dict[str, Any]:
    offered = headers.get(b"authorization", b"").removeprefix(b"Bearer ") or headers.get(b"cookie", b"").removeprefix(b"who=")
    name = (offered or headers.get(b"x-who", b"")).decode()
    if name not in {"ann", "bob"}:
        raise Auth.exceptions.HTTPException(401, "who are you?")
    return {"identity": name, "org_id": "acme", "team": "red" if name == "ann" else "blue"}


@auth.on.threads.create
async def noted(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> None:
    value["metadata"]["owner"] = ctx.user.identity


@auth.on.threads.update
async def not_the_closed_one(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> bool:
    return str(value.get("thread_id")) != CLOSED


@auth.on.threads.create_run
async def of_the_team(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> None:
    value["metadata"]["asked_by"] = ctx.user.identity
    value["kwargs"]["config"]["configurable"]["team"] = ctx.user["team"]


@auth.on.assistants.read
async def not_the_closed_assistant(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> bool:
    return str(value.get("assistant_id")) != CLOSED
