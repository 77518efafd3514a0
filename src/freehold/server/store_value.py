"""A request to the store as the project's authorisation handlers see it: in the shapes of `langgraph_sdk.auth.types`.

There the namespace is a tuple under one name, whatever the request calls it, and a handler may put another in its place, e.g. one
that begins with the user's identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import HTTPConnection, Request

#: action -> what the request's body calls the namespace, and what handlers find besides it, with its defaults.
_SHAPES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "put": ("namespace", {"key": None, "value": None, "index": None}),
    "get": ("namespace", {"key": None}),
    "delete": ("namespace", {"key": None}),
    "search": ("namespace_prefix", {"filter": None, "limit": 10, "offset": 0, "query": None}),
    "list_namespaces": ("prefix", {"suffix": None, "max_depth": None, "limit": 100, "offset": 0}),
}


class StoreValue:
    """What a handler is offered, and what comes back of it."""

    def __init__(self, connection: HTTPConnection, action: str, body: dict[str, Any]) -> None:
        self._state = connection.state
        self._body = body
        self._name, others = _SHAPES[action]
        query = connection.query_params if action == "get" else {}
        given = query["namespace"].split(".") if query.get("namespace") else body.get(self._name)
        namespace = tuple(given) if isinstance(given, list) else None if action == "list_namespaces" else ()
        self._others = {name: body.get(name, query.get(name, default)) for name, default in others.items()}
        self.offered: dict[str, Any] = {"namespace": namespace, **self._others}

    def take_back(self) -> None:
        """Let the request be what the handler made of it; validation comes after."""
        namespace = self.offered.get("namespace")
        if namespace is not None:
            self._body[self._name] = list(namespace) if isinstance(namespace, list | tuple) else namespace
            self._state.namespace = namespace
        for name, before in self._others.items():
            if (now := self.offered.get(name)) != before:
                self._body[name] = now


async def store_value(connection: HTTPConnection, action: str) -> StoreValue:
    """Of a request; reads its body, where it has one."""
    body: Any = await connection.json() if isinstance(connection, Request) and connection.method != "GET" else {}
    return StoreValue(connection, action, body if isinstance(body, dict) else {})
