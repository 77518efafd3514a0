"""What versions of MCP there are, and how they differ on the wire.

Up to 2025-11-25 a client begins with `initialize`. From 2026-07-28 on every request says in `params._meta` which version it speaks,
repeats it in headers, and every result says that it is complete; errors have a status code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from freehold import __version__
from freehold.server.json_rpc import INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, PARSE_ERROR, Call, RpcError

#: Versions that begin with `initialize`, newest first.
HANDSHAKE_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
MODERN_VERSION = "2026-07-28"

HEADER_MISMATCH = -32020
UNSUPPORTED_VERSION = -32022

_VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
_CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
_SERVER_KEY = "io.modelcontextprotocol/serverInfo"

SERVER = {"name": "freehold", "title": "Freehold", "version": __version__}
CAPABILITIES: Mapping[str, Any] = {"tools": {"listChanged": False}}
INSTRUCTIONS = "Each tool is an agent of this server: it is given the input its schema describes and answers once it is done."

#: Errors of the protocol itself, by status code; all others are told with 200.
_STATUS = {
    PARSE_ERROR: 400,
    INVALID_REQUEST: 400,
    INVALID_PARAMS: 400,
    HEADER_MISMATCH: 400,
    UNSUPPORTED_VERSION: 400,
    METHOD_NOT_FOUND: 404,
}


@dataclass(frozen=True)
class Dialect:
    """How one request is to be answered."""

    modern: bool

    def result(self, plain: Mapping[str, Any]) -> dict[str, Any]:
        """A result with what its version demands."""
        if not self.modern:
            return dict(plain)
        return {**plain, "resultType": "complete", "_meta": {_SERVER_KEY: SERVER}}

    def listed(self, plain: Mapping[str, Any]) -> dict[str, Any]:
        """A result that may be cached: for nobody else, and not at all."""
        return {**self.result(plain), "ttlMs": 0, "cacheScope": "private"} if self.modern else dict(plain)

    def status(self, error: RpcError) -> int:
        """The status code of an error."""
        return _STATUS.get(error.code, 200) if self.modern else 200


def dialect_of(call: Call) -> Dialect:
    """How a call is to be answered. Raises RpcError where its version is not spoken here, or its headers say another."""
    meta = call.params.get("_meta")
    header = call.headers.get("mcp-protocol-version")
    if not isinstance(meta, dict) or _VERSION_KEY not in meta:
        if header == MODERN_VERSION and not call.is_notification:
            raise RpcError(INVALID_PARAMS, f'params._meta lacks "{_VERSION_KEY}"')
        if header is not None and header not in (*HANDSHAKE_VERSIONS, MODERN_VERSION):
            raise _unsupported(header)
        return Dialect(modern=False)
    _check_headers(call, meta[_VERSION_KEY], header)
    if not isinstance(meta.get(_CAPABILITIES_KEY), dict):
        raise RpcError(INVALID_PARAMS, f'params._meta lacks "{_CAPABILITIES_KEY}"')
    if meta[_VERSION_KEY] != MODERN_VERSION:
        raise _unsupported(str(meta[_VERSION_KEY]))
    return Dialect(modern=True)


def _check_headers(call: Call, version: Any, header: str | None) -> None:
    if header is None or header != version:
        raise RpcError(HEADER_MISMATCH, "the header mcp-protocol-version is not the version in params._meta")
    if call.headers.get("mcp-method") != call.method:
        raise RpcError(HEADER_MISMATCH, "the header mcp-method is not the method of the body")


def _unsupported(version: str) -> RpcError:
    supported = [MODERN_VERSION, *HANDSHAKE_VERSIONS]
    return RpcError(UNSUPPORTED_VERSION, "Unsupported protocol version", {"supported": supported, "requested": version[:40]})


def initialized(call: Call) -> dict[str, Any]:
    """The answer to `initialize`: the version the client asked for, else the newest of ours that begins so."""
    asked = call.params.get("protocolVersion")
    version = asked if asked in HANDSHAKE_VERSIONS else HANDSHAKE_VERSIONS[0]
    return {"protocolVersion": version, "capabilities": CAPABILITIES, "serverInfo": SERVER, "instructions": INSTRUCTIONS}


def discovered() -> dict[str, Any]:
    """The answer to `server/discover`."""
    return {"supportedVersions": [MODERN_VERSION], "capabilities": CAPABILITIES, "instructions": INSTRUCTIONS}
