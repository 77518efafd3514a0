"""The project's own `langgraph_sdk.Auth`: who somebody is, and what of which resource they may touch.

A handler's answer becomes part of every query (`@owned`): objects whose metadata contain what its filter says, of the whole
organisation. Where a resource has no handler, people see their own objects: unlike LangGraph's servers, which would show
everybody's.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import orjson
from langgraph_sdk import Auth
from langgraph_sdk.auth.exceptions import HTTPException as AuthHTTPException
from langgraph_sdk.auth.types import AuthContext
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request

from freehold.core.caller import LOCAL, Caller
from freehold.core.errors import Forbidden, GraphError, Unauthenticated
from freehold.core.user import User, user
from freehold.graphs.loader import load_object
from freehold.graphs.project import Project
from freehold.graphs.project_config import AuthConfig
from freehold.server.guard import FOREIGN

#: Keys of a user that say which organisation they belong to, the first that is there.
_ORGANISATION = ("organisation", "organization", "org_id", "tenant_id")

Handler = Callable[..., Awaitable[Any]]


class ProjectAuth:
    """An `Auth` object of a project, asked for every request, or once in a while where `auth.cache` allows it."""

    def __init__(self, auth: Auth, config: AuthConfig) -> None:
        self._auth = auth
        self.openapi = config.openapi
        cache = config.cache
        self._seconds = cache.ttl_seconds or 0 if cache else 0
        self._most = cache.max_size or 1000 if cache else 0
        self._cache_keys = (cache.cache_keys if cache else ()) or ("authorization", "x-api-key", "cookie")
        #: Digest of the headers that tell callers apart -> who it was and until when that may be believed.
        self._known: OrderedDict[bytes, tuple[Caller, float]] = OrderedDict()

    @property
    def authenticates(self) -> bool:
        """Whether it says who somebody is; else keys do."""
        return self._auth._authenticate_handler is not None

    async def caller(self, connection: HTTPConnection) -> Caller:
        """Who is asking. Raises Unauthenticated, Forbidden, or what the project's code raises as HTTPException."""
        if connection.scope.get(FOREIGN) and {"authorization", "x-api-key"}.isdisjoint(connection.headers):
            # Bodies are read whatever they are called, so no CORS rule stops a form of another site; its user did not mean it.
            hint = "server.cors_origins (freehold.toml) lists origins whose pages may"
            raise Forbidden("web pages of another origin may not use this server with its cookies", hint=hint)
        told = [connection.headers.get(name, "") for name in self._cache_keys]
        if not self._seconds or not any(told):  # by something else than these headers, people cannot be told apart
            return await self._ask(connection)
        digest, now = hashlib.sha256("\0".join(told).encode()).digest(), time.monotonic()
        if (known := self._known.get(digest)) and known[1] > now:
            return known[0]
        caller = await self._ask(connection)
        self._known[digest] = (caller, now + self._seconds)
        self._known.move_to_end(digest)
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        return caller

    async def _ask(self, connection: HTTPConnection) -> Caller:
        authenticate = cast(Handler, self._auth._authenticate_handler)
        given = await _offered(connection, inspect.signature(authenticate).parameters)
        try:
            found = await authenticate(**given)
        except AuthHTTPException as error:
            raise _as_ours(error) from error
        except AssertionError as error:
            raise Unauthenticated(str(error) or "the project's authentication refused this request") from error
        return _caller(found)

    def handler(self, resource: str, action: str) -> Handler | None:
        """The most specific handler there is."""
        named = ((resource, action), (resource, "*"), ("*", action))
        handlers = next((self._auth._handlers[key] for key in named if key in self._auth._handlers), self._auth._global_handlers)
        return cast(Handler, handlers[-1]) if handlers else None

    async def decide(self, caller: Caller, resource: str, action: str, value: dict[str, Any]) -> Caller:
        """The caller with what this request may see; `value` may be changed.

        Raises:
            Forbidden: a handler says no.
            GraphError: its answer is none of those it may give.
        """
        handler = self.handler(resource, action)
        if handler is None:
            return caller
        whom = user(caller.owner, caller.user)
        context = AuthContext(
            permissions=list(whom["permissions"]), user=cast(Any, whom), resource=cast(Any, resource), action=cast(Any, action)
        )
        try:
            answer = await handler(ctx=context, value=value)
        except AuthHTTPException as error:
            raise _as_ours(error) from error
        except AssertionError as error:
            raise Forbidden(str(error) or f"the project's rules do not allow {resource}.{action}") from error
        if answer is False:
            raise Forbidden(f"the project's rules do not allow {resource}.{action}")
        if resource == "store":  # everybody has a store of their own: handlers shape its namespaces
            return caller
        if action == "create" and answer in (None, True):  # an id that is taken by another stays out of sight
            return caller
        return replace(caller, shared=True, must=_must(answer))


async def load_project_auth(project: Project | None) -> ProjectAuth | None:
    """The `Auth` a project names; None where it names none. Raises GraphError where it does not load: no server starts without it."""
    if project is None or project.auth is None:
        return None
    auth = await asyncio.to_thread(load_object, project.auth.path, project, key="auth.path", kind=Auth)
    return ProjectAuth(auth, project.auth)


def _must(answer: object) -> str:
    """What metadata must contain: `{"owner": "ann"}` as it is, `$contains` as a list, which JSON containment takes as membership."""
    if answer is None or answer is True:
        return "{}"
    if not isinstance(answer, Mapping):
        raise GraphError(f"an authorisation handler returned {type(answer).__name__}", hint="return None, True, False or a filter")
    return orjson.dumps({str(key): _wanted(wanted) for key, wanted in answer.items()}).decode()


def _wanted(wanted: object) -> Any:
    if not isinstance(wanted, Mapping):
        return wanted
    if set(wanted) == {"$eq"}:
        return wanted["$eq"]
    if set(wanted) == {"$contains"}:
        several = wanted["$contains"]
        return list(several) if isinstance(several, list | tuple | set) else [several]
    raise GraphError(f"an authorisation filter uses {', '.join(map(str, wanted))}", hint="filters know $eq and $contains, one for each key")


def _caller(found: object) -> Caller:
    """From what an authentication handler returned: an identity, a mapping with one, or an object."""
    if isinstance(found, str):
        return Caller(LOCAL.organisation, found, user=user(found))
    if not isinstance(found, Mapping):
        names = ("identity", "display_name", "is_authenticated", "permissions")
        found = {name: getattr(found, name) for name in names if hasattr(found, name)}
    identity = found.get("identity")
    if not isinstance(identity, str) or not identity:
        raise Unauthenticated("the project's authentication gave no identity", hint="return a string, or a mapping with `identity`")
    organisation = next((str(found[key]) for key in _ORGANISATION if found.get(key)), LOCAL.organisation)
    return Caller(organisation, identity, user=_plain(user(identity, found)))


def _plain(whom: User) -> User:
    """What can be stored with a run."""
    try:
        return User(orjson.loads(orjson.dumps(whom, default=str)))
    except (TypeError, orjson.JSONEncodeError) as error:
        raise GraphError(f"the project's authentication gave a user that is not JSON: {error}") from error


async def _offered(connection: HTTPConnection, wanted: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    """What an authentication handler asks for by name, of what it may ask for."""
    offers: dict[str, Callable[[], Any]] = {
        "request": lambda: connection,
        "path": lambda: connection.url.path,
        "method": lambda: connection.scope.get("method", "GET"),
        "path_params": lambda: dict(connection.path_params),
        "query_params": lambda: dict(connection.query_params),
        "headers": lambda: {name: value for name, value in connection.scope["headers"]},
        "authorization": lambda: connection.headers.get("authorization"),
    }
    given = {name: offer() for name, offer in offers.items() if name in wanted}
    if "body" in wanted:
        given["body"] = await connection.json() if isinstance(connection, Request) and await connection.body() else {}
    return given


def _as_ours(error: AuthHTTPException) -> HTTPException:
    return HTTPException(error.status_code, error.detail, dict(error.headers) if error.headers else None)
