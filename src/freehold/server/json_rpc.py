"""JSON-RPC 2.0, which MCP and A2A speak over HTTP: one call a request, its answer, its errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from freehold.core.errors import Conflict, FreeholdError, InvalidRequest, NotFound

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603

#: Errors that speak of what was asked, not of who asks or how the server is: those have a status code of their own.
ABOUT_THE_CALL = (InvalidRequest, NotFound, Conflict)

CallId = str | int | float | None


class RpcError(Exception):
    """An error that the client gets as JSON-RPC has it."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


@dataclass(frozen=True)
class Call:
    """A method to run. Without an id nobody waits for an answer: it is a notification."""

    method: str
    params: dict[str, Any]
    id: CallId = None
    is_notification: bool = False
    #: The client's answer to something it was asked; there is nothing to run.
    is_response: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    #: What the project's rules add to the metadata of what the call makes.
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def text(self, name: str, *, wanted: bool = True) -> str:
        """A parameter that is a text. Raises RpcError where it is none, or missing although wanted."""
        value = self.params.get(name, "")
        if not isinstance(value, str) or (wanted and not value):
            raise RpcError(INVALID_PARAMS, f"params.{name}: expected a text")
        return value


async def read_call(request: Request) -> Call:
    """The call of a request. Raises RpcError."""
    try:
        body = await request.json()
    except HTTPException as error:
        raise RpcError(PARSE_ERROR, str(error.detail)) from error
    if not isinstance(body, dict) or body.get("jsonrpc") != "2.0":
        raise RpcError(INVALID_REQUEST, 'expected one JSON-RPC object with "jsonrpc": "2.0"')
    method, params, call_id = body.get("method"), body.get("params"), body.get("id")
    if method is None and ("result" in body or "error" in body):
        return Call("", {}, is_response=True)
    if not isinstance(method, str):
        raise RpcError(INVALID_REQUEST, "method: expected a text")
    if isinstance(call_id, bool) or not isinstance(call_id, str | int | float | None):
        raise RpcError(INVALID_REQUEST, "id: expected a text or a number")
    if not isinstance(params, dict | None):
        raise RpcError(INVALID_PARAMS, "params: expected an object")
    return Call(method, params or {}, call_id, is_notification="id" not in body, headers=request.headers)


def answered(call_id: CallId, result: Any) -> dict[str, Any]:
    """The answer to a call."""
    return {"jsonrpc": "2.0", "id": call_id, "result": result}


def failed(call_id: CallId, error: RpcError | FreeholdError) -> dict[str, Any]:
    """The error of a call."""
    if isinstance(error, FreeholdError):
        code = INVALID_PARAMS if isinstance(error, ABOUT_THE_CALL) else INTERNAL_ERROR
        error = RpcError(code, error.message, {"code": error.code, "hint": error.hint} if error.hint else None)
    told = {"code": error.code, "message": error.message}
    return {"jsonrpc": "2.0", "id": call_id, "error": told if error.data is None else {**told, "data": error.data}}
