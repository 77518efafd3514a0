"""Rules that put the user's name before each namespace, as LangGraph's documentation does it."""

from __future__ import annotations

from typing import Any

from langgraph_sdk import Auth

auth = Auth()


@auth.authenticate
async def authenticate(authorization: str | None) -> str:
    if not authorization:
        raise Auth.exceptions.HTTPException(status_code=401, detail="who are you?")
    return authorization.removeprefix("Bearer ")


@auth.on.store
async def own_namespace(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> None:
    namespace = tuple(value["namespace"] or ())
    assert "forbidden" not in namespace, "that is forbidden"
    value["namespace"] = (ctx.user.identity, *namespace)
    if ctx.action == "search":
        value["limit"] = min(value["limit"], 2)
