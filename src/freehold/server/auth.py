"""Who is calling and whether they may: one function decides each, whatever header carries the credential and whatever the route.

`Authenticated` is for routes without an object; every other route declares `permit("threads", "read")`: the caller it gives carries
what the project's own rules let this request see, and goes into every query.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast
from uuid import UUID

from fastapi import Depends
from starlette.requests import HTTPConnection, Request
from starlette.types import Scope

from freehold.core.caller import LOCAL, Caller
from freehold.core.errors import Forbidden, InvalidRequest, Unauthenticated
from freehold.core.permissions import READING, allows
from freehold.core.run import MAX_BATCH, graph_keys
from freehold.core.user import user
from freehold.server.paths import route_path
from freehold.server.project_auth import ProjectAuth
from freehold.server.store_value import store_value
from freehold.storage.api_keys import PREFIX, ApiKeys

if TYPE_CHECKING:  # loaded where tokens are taken
    from freehold.server.oidc import TokenVerifier
    from freehold.storage.sealing import Sealing

#: A revoked key works at most this long.
CACHE_SECONDS = 3.0
CACHE_SIZE = 1024

#: Whoever has the key of metrics: may act on nothing.
METRICS_READER = Caller("local", "metrics", permissions=frozenset())

#: Key of a request's scope: its caller, where the project's `auth_first` had it authenticated before the route was found.
KNOWN = "freehold.caller"

Resource = Literal["assistants", "threads", "crons", "store", "audit"]
Action = Literal["create", "read", "update", "delete", "search", "create_run", "put", "get", "list_namespaces"]


class Authentication:
    """Turns the credentials of a request into a caller; without keys everybody is the one local user."""

    def __init__(
        self,
        api_keys: ApiKeys | None,
        *,
        needs_keys: bool,
        project: ProjectAuth | None = None,
        tokens: TokenVerifier | None = None,
        sealing: Sealing | None = None,
        metrics_key: str | None = None,
    ) -> None:
        #: None: keys are not taken; the same for tokens.
        self._api_keys = api_keys
        self._tokens = tokens
        self._needs_keys = needs_keys
        self.project = project
        #: Encrypts with the context of each request.
        self._sealing = sealing
        self._metrics_key = metrics_key.encode() if metrics_key else None
        #: Digest of a key -> its caller and until when that may be believed. Keys themselves are not kept in memory.
        self._known: OrderedDict[bytes, tuple[Caller, float]] = OrderedDict()

    async def caller(self, connection: HTTPConnection) -> Caller:
        """Raises Unauthenticated where a credential is needed and none or an unknown one was given."""
        caller = await self._caller(connection)
        if self._sealing:
            await self._sealing.enter(connection.headers.get("x-encryption-context"), user(caller.owner, caller.user))
        return caller

    async def _caller(self, connection: HTTPConnection) -> Caller:
        if isinstance(known := connection.scope.get(KNOWN), Caller):
            return known
        key = given_key(connection)
        if key and self._opens_metrics(connection.scope, key):
            return METRICS_READER
        if self.project and self.project.authenticates and not (self._needs_keys and key and key.startswith(PREFIX)):
            return await self.project.caller(connection)
        if not self._needs_keys:
            return LOCAL
        if key is None:
            kind = "an API key or a token" if self._api_keys and self._tokens else "a token" if self._tokens else "an API key"
            raise Unauthenticated(f"{kind} is needed", hint="send it as `x-api-key: ...` or `Authorization: Bearer ...`")
        return await self._lookup(key)

    def _opens_metrics(self, scope: Scope, key: str) -> bool:
        """Whether this is the key of metrics, on their page: elsewhere it is a key that nobody knows."""
        if self._metrics_key is None or scope.get("method") != "GET" or route_path(scope) != "/metrics":
            return False
        return hmac.compare_digest(key.encode(), self._metrics_key)

    async def permitted(self, connection: HTTPConnection, resource: Resource, action: Action) -> Caller:
        """The caller of a request that acts on a resource, with what the project's rules let it see.

        Raises:
            Unauthenticated: as `caller`.
            Forbidden: the credential does not reach so far, or the project's rules say no.
        """
        _tell(connection, resource, action)
        return await self.allow(connection, await self.caller(connection), resource, action)

    async def allow(
        self, connection: HTTPConnection, caller: Caller, resource: Resource, action: Action, offered: dict[str, Any] | None = None
    ) -> Caller:
        """The second half of `permitted`, for routes whose body says what is done.

        Args:
            offered: what a handler sees and may change, where the request has another shape than those of the LangGraph API.

        Raises:
            Forbidden: as `permitted`.
        """
        _tell(connection, resource, action)
        connection.state.caller = caller
        if not allows(caller.permissions, resource, action):
            raise Forbidden(f"this credential may not {action} {resource}", hint=f'it lacks the permission "{resource}:{action}"')
        if self.project is None:
            return caller
        if offered is not None:
            return await self._decided(caller, resource, action, offered)
        if resource == "store":
            value = await store_value(connection, action)
            decided = await self._decided(caller, resource, action, value.offered)
            value.take_back()
            return decided
        found = []
        for one in await _values(connection, action):
            found.append(await self._decided(caller, resource, action, one.offered))
            one.take_back()
        if any((one.shared, one.must, one.assistants) != (found[0].shared, found[0].must, found[0].assistants) for one in found):
            raise InvalidRequest("the runs of this batch fall under different rules", hint="send them one by one")
        return found[0] if len(found) == 1 else replace(found[0], configurable=None)  # each has its own in its body

    async def _decided(self, caller: Caller, resource: Resource, action: Action, offered: dict[str, Any]) -> Caller:
        """The caller as the project's handlers let one request, or one of a batch, see things."""
        assert self.project
        wanted = _id(offered.get("assistant_id"))
        before = _settings(offered)
        decided = await self.project.decide(caller, resource, action, offered)
        if action == "create_run":
            given = {key: value for key, value in _settings(offered).items() if key not in before or before[key] != value}
            decided = replace(decided, configurable=given)
        return await self.using(decided, wanted) if action == "create_run" else decided

    async def using(self, caller: Caller, named: Any) -> Caller:
        """Somebody who starts a run with an assistant, with what the project's rules say of reading that one. Raises Forbidden."""
        wanted = _id(named)
        if self.project is None or not isinstance(wanted, UUID) or not self.project.handler("assistants", "read"):
            return caller
        alone = replace(caller, shared=False, must="{}")
        reader = await self.project.decide(alone, "assistants", "read", {"assistant_id": wanted, "metadata": {}})
        return replace(caller, assistants=reader.must)

    async def _lookup(self, key: str) -> Caller:
        digest = hashlib.sha256(key.encode()).digest()
        now = time.monotonic()
        if (known := self._known.get(digest)) and known[1] > now:
            return known[0]
        self._known.pop(digest, None)
        caller = await self._recognise(key)
        self._known[digest] = (caller, now + CACHE_SECONDS)
        if len(self._known) > CACHE_SIZE:
            self._known.popitem(last=False)
        return caller

    async def _recognise(self, credential: str) -> Caller:
        """Keys of ours are known by how they begin; what else looks like a token is one, where tokens are taken."""
        caller = None
        if self._tokens and not (self._api_keys and credential.startswith(PREFIX)):
            caller = await self._tokens.caller(credential)
        if caller is None and self._api_keys:
            caller = await self._api_keys.caller(credential)
        if caller is None:
            hint = "it may have been revoked; `freehold keys create NAME` makes a new one" if self._api_keys else None
            raise Unauthenticated(f"this {'API key' if self._api_keys else 'token'} is not valid", hint=hint)
        return caller


class _Value:
    """What a handler sees of a request: ids of the path, the query and the body in one; its changes go back into the body."""

    def __init__(self, body: dict[str, Any], query: dict[str, Any], path: dict[str, Any], *, creates_run: bool) -> None:
        self._body = body
        _object_in(body, "metadata")
        self._configurable = _object_in(_object_in(body, "config"), "configurable") if creates_run else {}
        self._by_context = not self._configurable
        # What is acted on stands in the path: a body that names something else must not have that looked at in its place.
        self.offered = {**query, **body, **path}
        if creates_run:
            rest = {key: body[key] for key in _RUN_KEYS if key in body}
            self.offered["kwargs"] = rest

    def take_back(self) -> None:
        kwargs = self.offered.get("kwargs")
        changed = {**self.offered, **(kwargs if isinstance(kwargs, dict) else {})}
        for key in self._body:
            self._body[key] = changed.get(key, self._body[key])
        context = self._body.get("context")
        if self._by_context and isinstance(context, dict) and context:
            # The client gave its settings as context: what a handler adds to configurable is more of them, not a second way.
            added = graph_keys(self._configurable)
            self._body["context"] = {**context, **added}
            for key in added:
                del self._configurable[key]


def _settings(offered: Mapping[str, Any]) -> dict[str, Any]:
    """What a graph will find in `configurable`, as far as it stands in what a handler sees of a run."""
    found: Any = offered
    for key in ("kwargs", "config", "configurable"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return graph_keys(found) if isinstance(found, Mapping) else {}


def _object_in(body: dict[str, Any], key: str) -> dict[str, Any]:
    """The object under a key, made where there is none: handlers write into it. What is no object is left for validation to refuse."""
    if body.get(key) is None:
        body[key] = {}
    found = body[key]
    return found if isinstance(found, dict) else {}


_RUN_KEYS = ("input", "command", "config", "context", "stream_mode", "interrupt_before", "interrupt_after", "webhook", "checkpoint")


async def _values(connection: HTTPConnection, action: Action) -> list[_Value]:
    """One for each run of a batch, else one."""
    body: Any = {}
    if isinstance(connection, Request) and connection.method in {"POST", "PUT", "PATCH"}:
        body = await connection.json()
    query, path = dict(connection.query_params), {name: _id(value) for name, value in connection.path_params.items()}
    several = body[:MAX_BATCH] if isinstance(body, list) else [body]  # one with more is refused
    found = [_Value(one, query, path, creates_run=action == "create_run") for one in several if isinstance(one, dict)]
    return found or [_Value({}, query, path, creates_run=action == "create_run")]


def _id(text: Any) -> Any:
    try:
        return UUID(str(text))
    except ValueError:
        return text


def given_key(connection: HTTPConnection) -> str | None:
    """`x-api-key: KEY`, as the LangGraph SDKs send it, or `Authorization: Bearer KEY`, as OpenAI's clients do."""
    if key := connection.headers.get("x-api-key"):
        return key
    scheme, _, key = connection.headers.get("authorization", "").partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


async def _authenticated(connection: HTTPConnection) -> Caller:
    return await cast(Authentication, connection.app.state.authentication).caller(connection)


#: Parameter type of handlers that need somebody known, and touch nobody's objects.
Authenticated = Annotated[Caller, Depends(_authenticated)]


def _tell(connection: HTTPConnection, resource: Resource, action: Action) -> None:
    """The audit log, before anything is refused. Of several rights a request asks for, it tells of the first to change something."""
    state = connection.state
    told = getattr(state, "action", None)
    if told is None or (told[1] in READING and action not in READING):
        state.action = (resource, action)
    state.objects = connection.path_params


def permit(resource: Resource, action: Action) -> Any:
    """For `caller: Annotated[Caller, permit("threads", "read")]`: the caller of a route that does this to that.

    Runs before the body is validated, so that what a project's handler changed in it is validated too.
    """
    return Depends(_permission(resource, action))


def _permission(resource: Resource, action: Action) -> Callable[..., Coroutine[Any, Any, Caller]]:
    async def permitted(connection: HTTPConnection) -> Caller:
        authentication = cast(Authentication, connection.app.state.authentication)
        return await authentication.permitted(connection, resource, action)

    return permitted


#: What routes declare most.
ThreadReader = Annotated[Caller, permit("threads", "read")]
ThreadChanger = Annotated[Caller, permit("threads", "update")]
ThreadDeleter = Annotated[Caller, permit("threads", "delete")]
ThreadCreator = Annotated[Caller, permit("threads", "create")]
ThreadSearcher = Annotated[Caller, permit("threads", "search")]
RunStarter = Annotated[Caller, permit("threads", "create_run")]
AssistantReader = Annotated[Caller, permit("assistants", "read")]
AssistantSearcher = Annotated[Caller, permit("assistants", "search")]
