"""Connections to where a client's URL leads, and nowhere else.

A name is resolved once, every address it has is checked, and one of these is connected to: a name that changes its address between
check and use changes nothing. The URL stays as it is, so TLS and the Host header are about the name.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from ipaddress import ip_address
from typing import Any

import httpcore

from freehold.core.errors import InvalidRequest
from freehold.outbound.address import Address, Allowed, is_public

#: Names that are resolved at once; a thread may be held for as long as the system waits for an answer.
RESOLVERS = 8


class Refused(InvalidRequest):
    """This address may not be connected to."""

    code = "address_refused"


@cache
def _resolvers() -> ThreadPoolExecutor:
    """Threads of their own: names whose servers never answer hold up each other and nothing else of this process."""
    return ThreadPoolExecutor(max_workers=RESOLVERS, thread_name_prefix="resolve")


async def resolve(host: str, port: int) -> list[Address]:
    """All addresses of a host, as the system knows them: names, and numbers in every form it reads.

    Raises:
        OSError: there are none, or nobody could be asked.
    """
    try:
        asking = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(_resolvers(), asking)
    except UnicodeError as error:
        raise OSError("no name of a host") from error
    return list(dict.fromkeys(ip_address(str(entry[4][0])) for entry in found))


async def checked(host: str, port: int, allowed: Allowed) -> list[Address]:
    """Addresses of a host, all of which may be connected to.

    Raises:
        Refused: at least one may not.
        OSError: as `resolve`.
    """
    addresses = await resolve(host, port)
    if not allowed.names(host) and not all(is_public(address) or allowed.covers(address) for address in addresses):
        raise Refused(f"{host} is at an address that is not public", hint="webhooks.allow_private in freehold.toml lists hosts that may be")
    return addresses


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Opens connections for an HTTP client, to checked addresses."""

    def __init__(self, allowed: Allowed) -> None:
        self._allowed = allowed
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's name for it
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            addresses = await checked(host, port, self._allowed)
        except OSError as error:
            raise httpcore.ConnectError(f"{host} has no address") from error
        failure: Exception | None = None
        for address in addresses:
            try:
                return await self._network.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError(f"{host} has no address")

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's name for it
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise Refused(f"no connection is made to the socket {path}")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
