"""Whoever names themselves is believed."""

from __future__ import annotations

from langgraph_sdk import Auth

auth = Auth()


@auth.authenticate
async def authenticate(headers: dict[bytes, bytes]) -> dict[str, str]:
    name = headers.get(b"x-name", b"").decode()
    if not name:
        raise Auth.exceptions.HTTPException(status_code=401, detail="say who you are")
    return {"identity": name, "team": f"team of {name}"}
