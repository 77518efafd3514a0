"""One turn with an agent over the plain chat endpoint, as `ask` and `chat` have it: streamed, with tool calls as they happen."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from freehold.config import env, paths
from freehold.core.errors import FreeholdError, RunFailed, Unauthenticated, Unhealthy
from freehold.targets.native.arrange import edge_folder
from freehold.targets.native.home import Home

#: A model on a laptop may read a long prompt for minutes before the first token; the stream has heartbeats meanwhile.
_SILENCE_SECONDS = 120.0


@dataclass(frozen=True)
class Server:
    """Where the agent server is and the key it wants, if any."""

    url: str
    api_key: str | None = None


@dataclass
class Turn:
    """What one turn brought."""

    answer: str = ""
    thread_id: str = ""
    run_id: str = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    sources: list[dict[str, Any]] = field(default_factory=list)
    usage: dict[str, int] | None = None
    interrupts: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Happening:
    """`token` (text), `tool_call` (name, args), `tool_result` (name, content, status), or `restart` (attempt): a worker died,
    and what was shown of this turn is said again."""

    kind: str
    data: dict[str, Any]


def server(url: str | None = None) -> Server:
    """The server to talk to: given, FREEHOLD_SERVER_URL, or the stack of this folder."""
    chosen = url or env.get("FREEHOLD_SERVER_URL")
    if chosen:
        return Server(chosen.rstrip("/"), env.get("FREEHOLD_API_KEY"))
    from freehold.targets.native.connections import connections

    found = connections()
    return Server(found.server_url, env.get("FREEHOLD_API_KEY") or found.api_key)


async def turn(target: Server, message: str, *, thread_id: str | None, agent: str | None, into: Turn) -> AsyncIterator[Happening]:
    """Send a message and yield what happens; `into` is filled as it goes and whole at the end.

    Raises:
        Unhealthy: the server cannot be reached or broke off.
        Unauthenticated: it wants a key.
        RunFailed: the run ended in error.
    """
    started = time.monotonic()
    body = {"message": message, "stream": True, "thread_id": thread_id, "assistant_id": agent}
    headers = {"x-api-key": target.api_key} if target.api_key else {}
    timeout, trust = httpx.Timeout(10, read=_SILENCE_SECONDS), _trust(target.url)
    try:
        async with (
            httpx.AsyncClient(base_url=target.url, headers=headers, timeout=timeout, trust_env=False, verify=trust) as client,
            client.stream("POST", "/chat", json={key: value for key, value in body.items() if value is not None}) as response,
        ):
            if response.status_code != 200:
                raise _refused(response.status_code, await response.aread())
            async for name, data in _events(response):
                if name == "done":
                    _fill(into, data)
                elif name == "error":
                    raise _failed(data)
                else:
                    yield Happening(name, data)
    except httpx.HTTPError as error:
        raise Unhealthy(
            f"the agent server at {target.url} does not answer: {error or type(error).__name__}", hint="`freehold status` says why"
        ) from error
    if not into.run_id:
        raise Unhealthy("the server closed the stream before the answer was complete", hint="`freehold logs server` may say why")
    into.seconds = round(time.monotonic() - started, 3)


def _fill(into: Turn, data: dict[str, Any]) -> None:
    into.answer = data["response"]
    into.thread_id = data["thread_id"]
    into.run_id = data["run_id"]
    into.tool_calls = data["tool_calls"]
    into.sources = data["sources"]
    into.usage = data["usage"]
    into.interrupts = data["interrupts"]


def _trust(url: str) -> ssl.SSLContext | bool:
    """Authorities of this system, and the certificate that the edge of this folder's stack made for itself."""
    if not url.startswith("https:"):
        return True
    context = ssl.create_default_context()
    own = edge_folder(Home(paths.home())) / "certificate.crt"
    if own.is_file():
        context.load_verify_locations(own)
    return context


async def _events(response: httpx.Response) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    name = ""
    async for line in response.aiter_lines():
        if line.startswith("event:"):
            name = line[6:].strip()
        elif line.startswith("data:") and name:
            yield name, json.loads(line[5:])


def _refused(status: int, body: bytes) -> FreeholdError:
    try:
        told = json.loads(body)
    except ValueError:
        told = {}
    message = told.get("detail") if isinstance(told, dict) else None
    text = message if isinstance(message, str) else f"the server answered {status}"
    hint = told.get("hint") if isinstance(told, dict) else None
    if status == 401:
        return Unauthenticated(text, hint=hint or "set FREEHOLD_API_KEY; `freehold keys create NAME` makes one")
    return (Unhealthy if status >= 500 else RunFailed)(text, hint=hint)


def _failed(data: dict[str, Any]) -> FreeholdError:
    return RunFailed(data.get("message"), hint="`freehold logs worker` has the details")
