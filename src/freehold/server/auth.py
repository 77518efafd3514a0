"""Who is calling: one function decides, whatever header carries the key."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from freehold.core.caller import LOCAL, Caller
from freehold.core.errors import Unauthenticated
from freehold.storage.api_keys import ApiKeys

#: A revoked key works at most this long.
CACHE_SECONDS = 3.0
CACHE_SIZE = 1024


class Authentication:
    """Turns the credentials of a request into a caller; without keys everybody is the one local user."""

    def __init__(self, api_keys: ApiKeys, *, needs_keys: bool) -> None:
        self._api_keys = api_keys
        self._needs_keys = needs_keys
        #: Digest of a key -> its caller and until when that may be believed. Keys themselves are not kept in memory.
        self._known: OrderedDict[bytes, tuple[Caller, float]] = OrderedDict()

    async def caller(self, connection: HTTPConnection) -> Caller:
        """Raises Unauthenticated where a key is needed and none or an unknown one was given."""
        if not self._needs_keys:
            return LOCAL
        key = given_key(connection)
        if key is None:
            raise Unauthenticated("an API key is needed", hint="send it as `x-api-key: ...` or `Authorization: Bearer ...`")
        return await self._lookup(key)

    async def _lookup(self, key: str) -> Caller:
        digest = hashlib.sha256(key.encode()).digest()
        now = time.monotonic()
        if (known := self._known.get(digest)) and known[1] > now:
            return known[0]
        caller = await self._api_keys.caller(key)
        if caller is None:
            self._known.pop(digest, None)
            raise Unauthenticated("this API key is not valid", hint="it may have been revoked; `freehold keys create NAME` makes a new one")
        self._known[digest] = (caller, now + CACHE_SECONDS)
        if len(self._known) > CACHE_SIZE:
            self._known.popitem(last=False)
        return caller


def given_key(connection: HTTPConnection) -> str | None:
    """`x-api-key: KEY`, as the LangGraph SDKs send it, or `Authorization: Bearer KEY`, as OpenAI's clients do."""
    if key := connection.headers.get("x-api-key"):
        return key
    scheme, _, key = connection.headers.get("authorization", "").partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


async def _authenticated(connection: HTTPConnection) -> Caller:
    return await cast(Authentication, connection.app.state.authentication).caller(connection)


#: Parameter type of handlers that act for somebody; declaring it is what makes a route need a key.
Authenticated = Annotated[Caller, Depends(_authenticated)]
