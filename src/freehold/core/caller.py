"""Who is asking. Every query that touches an object carries this, so nobody reaches another's rows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Caller:
    """The authenticated principal of a request or of the run it started."""

    organisation: str
    owner: str


#: The one user of a loopback server without keys.
LOCAL = Caller("local", "local")
