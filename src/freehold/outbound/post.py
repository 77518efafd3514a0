"""One POST to a client's URL: no redirect is followed, no proxy asked, no cookie kept, and what comes back is hardly read."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import httpcore
import httpx

from freehold.core.errors import FreeholdError
from freehold.outbound.address import Allowed
from freehold.outbound.connect import CheckedNetwork, Refused

#: What is read of an answer's body before the connection is closed.
MOST_BYTES = 16 * 1024


class Undelivered(FreeholdError):
    """There was no answer."""

    code = "undelivered"


@dataclass(frozen=True)
class Answer:
    """What came back; of its body, nothing is kept."""

    status: int
    #: Seconds until another try is wanted, where the other side said so.
    retry_after: float | None = None


class Poster:
    """Sends requests, each over a connection of its own. Certificates are loaded once."""

    def __init__(self, allowed: Allowed, *, timeout_seconds: float) -> None:
        self._allowed = allowed
        self._seconds = timeout_seconds
        self._certificates: ssl.SSLContext | None = None

    async def post(self, url: httpx.URL, headers: Mapping[str, str], body: bytes, *, allowed: Allowed | None = None) -> Answer:
        """Send it and wait for the head of the answer.

        Args:
            allowed: other addresses than usual.

        Raises:
            Undelivered: the host was not reached, refused, or did not answer in time; the message says which.
        """
        seconds = self._seconds
        limits = {"connect": seconds, "read": seconds, "write": seconds, "pool": seconds}
        if self._certificates is None:
            self._certificates = await asyncio.to_thread(httpx.create_ssl_context)
        head = [("Host", url.netloc.decode("ascii")), *headers.items()]
        network = CheckedNetwork(allowed or self._allowed)
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        try:
            async with (
                asyncio.timeout(seconds),
                httpcore.AsyncConnectionPool(ssl_context=self._certificates, network_backend=network, max_connections=1) as pool,
                pool.stream(
                    "POST",
                    target,
                    headers=head,
                    content=body,
                    extensions={"timeout": limits},
                ) as response,
            ):
                await _read_a_little(response)
                return Answer(response.status, _retry_after(response))
        except Refused as error:
            raise Undelivered(error.message, hint=error.hint) from error
        except (TimeoutError, httpcore.TimeoutException) as error:
            raise Undelivered(f"no answer within {seconds:g} s") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError, OSError) as error:
            raise Undelivered(f"no answer: {type(error).__name__}: {str(error)[:200]}") from error


async def _read_a_little(response: httpcore.Response) -> None:
    """So that a server that still writes is not cut off, and one that never stops is."""
    seen = 0
    async for piece in response.aiter_stream():
        seen += len(piece)
        if seen > MOST_BYTES:
            return


def _retry_after(response: httpcore.Response) -> float | None:
    """`Retry-After: 120`; dates are left aside."""
    for name, value in response.headers:
        if name.lower() == b"retry-after" and value.isdigit() and len(value) < 7:
            return float(value)
    return None
