"""The user a run acts for, in the shape LangGraph's servers give it to graphs and authorisation handlers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class User(dict[str, Any]):
    """`user["identity"]` and `user.identity` are the same; keys of the project's own authentication pass through."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def user(identity: str, more: Mapping[str, Any] | None = None) -> User:
    """A user with everything graphs may ask of one."""
    return User({"display_name": identity, "is_authenticated": True, "permissions": [], **(more or {}), "identity": identity})
