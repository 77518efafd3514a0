"""What a credential may do: one table of scopes, and one question that every route asks.

A permission is `resource:action`, either of which may be `*`; `*` alone is everything. People rarely write these: they give a key
one of the named groups.

    read    look at everything                      *:read, *:search, store:get, …
    run     read, and talk with agents              threads:create, threads:create_run, threads:update
    write   everything but what administers         *:*
    admin   everything, the audit log included      *
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping

#: Everything there is to do, by resource. The names are those of `langgraph_sdk.Auth`, and `audit` is ours.
ACTIONS: Mapping[str, frozenset[str]] = {
    "assistants": frozenset({"create", "read", "update", "delete", "search"}),
    "threads": frozenset({"create", "read", "update", "delete", "search", "create_run"}),
    "crons": frozenset({"create", "read", "update", "delete", "search"}),
    "store": frozenset({"put", "get", "search", "list_namespaces", "delete"}),
    "audit": frozenset({"read"}),
}

#: What `*` in the place of a resource leaves out: who may use everything shall not therefore see what others did.
ADMINISTRATIVE = frozenset({"audit"})

#: Actions that change nothing.
READING = frozenset({"read", "search", "get", "list_namespaces"})

EVERYTHING = "*"

_READ = ("*:read", "*:search", "store:get", "store:list_namespaces")

#: Named scopes and what each stands for.
GROUPS: Mapping[str, frozenset[str]] = {
    "read": frozenset(_READ),
    "run": frozenset({*_READ, "threads:create", "threads:create_run", "threads:update"}),
    "write": frozenset({"*:*"}),
    "admin": frozenset({EVERYTHING}),
}


def allows(permissions: Collection[str], resource: str, action: str) -> bool:
    """Whether permissions such as `{"threads:read", "store:*"}` cover an action such as `("threads", "read")`."""
    if EVERYTHING in permissions or f"{resource}:{action}" in permissions or f"{resource}:*" in permissions:
        return True
    return resource not in ADMINISTRATIVE and (f"*:{action}" in permissions or "*:*" in permissions)


def permissions_of(scopes: Iterable[str]) -> frozenset[str]:
    """The permissions that scopes stand for; a scope that is no group is a permission itself."""
    return frozenset(permission for scope in scopes for permission in GROUPS.get(scope, (scope,)))


def checked(scope: str) -> str:
    """The scope itself, where there is such a one. Raises ValueError that names the nearest."""
    resource, separator, action = scope.partition(":")
    if scope in GROUPS or (separator and _means_something(resource, action)):
        return scope
    known = [*GROUPS, *(f"{name}:{verb}" for name, verbs in ACTIONS.items() for verb in ("*", *sorted(verbs)))]
    close = difflib.get_close_matches(scope, known, n=1, cutoff=0.5)
    hint = f'; did you mean "{close[0]}"?' if close else ""
    raise ValueError(f'expected {", ".join(GROUPS)} or a permission such as "threads:read", got "{scope}"{hint}')


def _means_something(resource: str, action: str) -> bool:
    resources = ACTIONS if resource == "*" else (resource,)
    return any(name in ACTIONS and (action == "*" or action in ACTIONS[name]) for name in resources)
