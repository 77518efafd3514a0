"""What URLs a client may give us to report to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import httpx

from freehold.core.errors import InvalidRequest
from freehold.outbound.address import NOTHING, Allowed
from freehold.outbound.connect import checked

#: A name that takes longer to be resolved is accepted for now: it is checked again before anything is sent.
RESOLVE_SECONDS = 2.0

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class UrlPolicy:
    """The operator's rules, from freehold.toml and langgraph.json."""

    #: False: no webhooks at all.
    enabled: bool = True
    require_https: bool = True
    #: `hooks.example.com`, or `*.example.com` for its subdomains; empty: every public host.
    domains: tuple[str, ...] = ()
    #: Empty: every port.
    ports: tuple[int, ...] = ()
    longest: int = 2048
    #: Whether a path, e.g. `/hooks/done`, may stand for a route of the project's own app.
    paths: bool = False
    #: What may be reached although it is not public.
    allowed: Allowed = NOTHING
    #: What may be reached without TLS although https is required.
    http_allowed: Allowed = NOTHING

    def parse(self, text: str) -> httpx.URL:
        """The URL, without a look at where its name leads; a path stays a path.

        Raises:
            InvalidRequest: the rules forbid it; the message says which one.
        """
        if not self.enabled:
            raise InvalidRequest("webhook: this server sends none", hint="http.disable_webhooks in langgraph.json")
        if len(text) > self.longest:
            raise InvalidRequest(f"webhook: longer than {self.longest} characters")
        if not text.isascii() or any(character <= " " or character in '\\"<>^`{|}\x7f' for character in text):
            raise InvalidRequest("webhook: expected a URL without spaces, backslashes or special characters, percent-encoded where needed")
        return self._path(text) if text.startswith("/") else self._absolute(text)

    def _path(self, text: str) -> httpx.URL:
        if not self.paths:
            raise InvalidRequest(
                "webhook: a path leads back to this server, which is not allowed here",
                hint='"webhooks": {"url": {"disable_loopback": false}} in langgraph.json allows it',
            )
        url = _read(text)
        if url.host or text.startswith("//") or "/../" in f"{url.path}/":
            raise InvalidRequest('webhook: expected a path such as "/hooks/done"')
        return url.copy_with(fragment=None)

    def _absolute(self, text: str) -> httpx.URL:
        url = _read(text)
        if url.scheme not in _PORTS or not url.host:
            raise InvalidRequest('webhook: expected a URL such as "https://example.com/hook"')
        if url.port is not None and not 0 < url.port < 65536:
            raise InvalidRequest("webhook: expected a port from 1 to 65535")
        if url.userinfo:
            raise InvalidRequest("webhook: a user name or password in the URL is not allowed", hint="receivers know us by the signature")
        if url.scheme != "https" and self.require_https and not self.http_allowed.names(url.host):
            raise InvalidRequest("webhook: expected https", hint="webhooks.require_https = false in freehold.toml allows http")
        if self.ports and (url.port or _PORTS[url.scheme]) not in self.ports:
            raise InvalidRequest(f"webhook: this port is not allowed; allowed are {', '.join(map(str, self.ports))}")
        if self.domains and not any(_matches(url.host, pattern) for pattern in self.domains):
            raise InvalidRequest(f"webhook: this host is not allowed; allowed are {', '.join(self.domains)}")
        return url.copy_with(fragment=None)

    async def check(self, text: str) -> httpx.URL:
        """The same, and where the name leads right now.

        Raises:
            InvalidRequest: the rules forbid it, or it leads to an address that is not public.
        """
        url = self.parse(text)
        if url.host:
            try:
                async with asyncio.timeout(RESOLVE_SECONDS):
                    await checked(url.raw_host.decode("ascii"), url.port or _PORTS[url.scheme], self.allowed)
            except OSError:  # nobody knows the name now; TimeoutError is one
                return url
        return url


def _read(text: str) -> httpx.URL:
    try:
        return httpx.URL(text)
    except (httpx.InvalidURL, ValueError) as error:
        raise InvalidRequest(f"webhook: not a URL: {str(error)[:100]}") from error


def _matches(host: str, pattern: str) -> bool:
    host, pattern = host.lower().rstrip("."), pattern.lower().rstrip(".")
    return host.endswith(pattern[1:]) and host != pattern[2:] if pattern.startswith("*.") else host == pattern
