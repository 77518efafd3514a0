"""Who is asking. Every query that touches an object carries this, so nobody reaches another's rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from freehold.core.run import Run


@dataclass(frozen=True)
class Caller:
    """The authenticated principal of a request or of the run it started.

    `shared` and `must` are what an authorisation handler of the project decided for one request: with `shared` the objects of the
    whole organisation count as the caller's, and of these only such whose metadata contain `must` (JSON text, `{}` for any).
    """

    organisation: str
    owner: str
    #: What the caller may do, e.g. `threads:read`; `*` is everything.
    permissions: frozenset[str] = frozenset({"*"})
    #: The user as the project's own authentication gave it, for graphs and handlers; None where keys or nothing decided.
    user: Mapping[str, Any] | None = field(default=None, compare=False)
    shared: bool = False
    must: str = "{}"
    #: What was shown: `key:UUID`, `token:SUBJECT`, or nothing where nothing is needed. For the audit log, never a secret.
    credential: str = field(default="", compare=False)
    #: `must` for assistants that a run is to use, where the project has rules for reading them; None: the caller's own may be used.
    assistants: str | None = None
    #: What the project's rules gave the run of this request in `configurable`; it holds whatever else says something of the same keys.
    configurable: Mapping[str, Any] | None = field(default=None, compare=False)

    def arguments(self) -> dict[str, Any]:
        """What `@owned` in a query takes."""
        return {"organisation": self.organisation, "owner": self.owner, "shared": self.shared, "must": self.must}

    def running(self) -> Caller:
        """The same as far as assistants are concerned, for a run: rules for threads say nothing of them."""
        return replace(self, shared=self.assistants is not None, must=self.assistants or "{}")


def acting_for(run: Run) -> Caller:
    """Whoever was authorised when a run was accepted, for what follows from it; its thread may be another's of the organisation."""
    return Caller(run.organisation, run.owner, shared=True)


#: The one user of a loopback server without keys.
LOCAL = Caller("local", "local")
