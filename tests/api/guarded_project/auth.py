"""Rules of a project of its own: people see their own threads, and those they take part in."""

from __future__ import annotations

from typing import Any

from langgraph_sdk import Auth

auth = Auth()

PEOPLE = {
    "ann": {"identity": "ann", "permissions": ["threads:delete"], "org_id": "acme", "team": "red"},
    "bob": {"identity": "bob", "permissions": [], "org_id": "acme", "team": "blue"},
    "eve": {"identity": "eve", "permissions": [], "org_id": "elsewhere"},
}


@auth.authenticate
async def authenticate(authorization: str | None, method: str) -> dict[str, Any]:
    assert method
    person = PEOPLE.get((authorization or "").removeprefix("Bearer "))
    if person is None:
        raise Auth.exceptions.HTTPException(401, "who are you?", {"WWW-Authenticate": 'Bearer realm="tests"'})
    return person


@auth.on.threads
async def their_own(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> dict[str, Any]:
    value["metadata"]["owner"] = ctx.user.identity
    return {"owner": ctx.user.identity}


@auth.on.threads.read
async def those_they_take_part_in(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> dict[str, Any]:
    return {"readers": {"$contains": [ctx.user.identity]}}


@auth.on.threads.create
async def with_readers(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> None:
    metadata = value["metadata"]
    metadata["owner"] = ctx.user.identity
    metadata["readers"] = [ctx.user.identity, *metadata.get("readers", [])]


@auth.on.threads.create_run
async def with_a_tone(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> dict[str, Any]:
    value["metadata"]["asked_by"] = ctx.user.identity
    value["kwargs"]["config"]["configurable"]["team"] = ctx.user["team"]
    return {"owner": ctx.user.identity}


@auth.on.threads.delete
async def only_with_the_permission(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> bool:
    return "threads:delete" in ctx.permissions


@auth.on.assistants.search
async def nobody(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> None:
    raise Auth.exceptions.HTTPException(403, "assistants are not listed here")


@auth.on.assistants.create
async def with_its_readers(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> None:
    value["metadata"]["readers"] = [ctx.user.identity, *value["metadata"].get("readers", [])]


@auth.on.assistants.read
async def those_they_may_read(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> dict[str, Any]:
    return {"readers": {"$contains": [ctx.user.identity]}}


@auth.on.assistants.delete
async def whoever_is_of_the_organisation(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> None:
    """No filter: all of them."""
