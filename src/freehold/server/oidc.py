"""Tokens of an identity provider: checked here with the provider's public keys, without asking it for each.

Keys are fetched from where the operator's settings say, kept, and fetched again now and then, or when a token names one that is not
known (not more often than every ten seconds, whatever strangers send). While the provider is away the keys that are known go on
working. A token is refused unless it is signed with an allowed algorithm by a key of the issuer, is for us, and is valid now.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
from joserfc import jws, jwt
from joserfc.errors import ClaimError, ExpiredTokenError, JoseError, MissingClaimError
from joserfc.jwk import KeySet

from freehold.config.section import LOOPBACK_HOSTS
from freehold.config.settings import OidcSection
from freehold.core.caller import Caller
from freehold.core.errors import InvalidToken, Unhealthy
from freehold.core.permissions import checked, permissions_of

log = logging.getLogger(__name__)

#: Seconds that fetched keys are believed; then they are fetched anew, and used meanwhile.
FRESH_SECONDS = 600.0

#: Between two fetches, whatever asks for them.
PAUSE_SECONDS = 10.0

FETCH_SECONDS = 5.0
MOST_BYTES = 1_000_000
LONGEST_TOKEN = 16_000
LONGEST_NAME = 200

#: Key types that an algorithm may be checked with, by how its name begins.
_KEY_TYPES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}


class ProviderKeys:
    """The public keys of an issuer, as fresh as they need to be."""

    def __init__(self, settings: OidcSection, http: httpx.AsyncClient) -> None:
        self._settings = settings
        self._http = http
        self._keys: KeySet | None = None
        self._fetched_at = self._tried_at = float("-inf")
        self._fetching = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def named(self, kid: str | None, key_type: str) -> Any:
        """The key a token names, or the only one of its type where it names none. None: the issuer has no such key.

        Raises:
            Unhealthy: no keys were ever fetched, and they cannot be now.
        """
        if self._keys is None:
            await self._fetch(time.monotonic())
        elif time.monotonic() - self._fetched_at > FRESH_SECONDS and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._refresh(), name="jwks")
        found = self._find(kid, key_type)
        if found is None:
            await self._refresh()
            found = self._find(kid, key_type)
        return found

    def _find(self, kid: str | None, key_type: str) -> Any:
        fitting = [key for key in self._keys or () if key.key_type == key_type and key.get("use", "sig") == "sig"]
        if kid is None:
            return fitting[0] if len(fitting) == 1 else None
        return next((key for key in fitting if key.kid == kid), None)

    async def _refresh(self) -> None:
        """Fetch again unless that was tried a moment ago; what is known stays where it fails."""
        try:
            await self._fetch(time.monotonic())
        except Unhealthy as error:
            log.warning("%s; the keys that are known are used", error.message, extra={"action": "jwks_failed"})

    async def _fetch(self, asked_at: float) -> None:
        async with self._fetching:
            if self._tried_at > asked_at - PAUSE_SECONDS:  # by somebody else, this moment or a while ago
                if self._keys is None:
                    raise Unhealthy("the identity provider does not answer", hint="tokens cannot be checked until it does once")
                return
            self._tried_at = time.monotonic()
            address = self._settings.jwks_url or await self._discover()
            document = await self._get(address)
            try:
                self._keys = KeySet.import_key_set(document)  # type: ignore[arg-type]
            except (JoseError, KeyError, TypeError, ValueError) as error:
                raise Unhealthy(f"the identity provider publishes no keys that can be read at {address}") from error
            self._fetched_at = time.monotonic()
            log.info("keys of the identity provider: %d", len(self._keys.keys), extra={"action": "jwks_fetched"})

    async def _discover(self) -> str:
        issuer = str(self._settings.issuer)
        document = await self._get(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        address = document.get("jwks_uri")
        if document.get("issuer") != issuer:
            raise Unhealthy(f"the identity provider calls itself another name than oidc.issuer ({issuer})")
        if not isinstance(address, str) or not _is_safe(address, local=issuer.startswith("http:")):
            raise Unhealthy("the identity provider's configuration names no https address of its keys")
        return address

    async def _get(self, address: str) -> dict[str, Any]:
        """A JSON object; no redirect is followed and not more than a megabyte read."""
        try:
            async with (
                asyncio.timeout(FETCH_SECONDS),
                self._http.stream("GET", address, headers={"accept": "application/json"}) as response,
            ):
                if response.status_code != 200:
                    raise Unhealthy(f"the identity provider answers {response.status_code} at {address}")
                body = b""
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > MOST_BYTES:
                        raise Unhealthy(f"the identity provider answers with too much at {address}")
            document = httpx.Response(200, content=body).json()
        except (httpx.HTTPError, TimeoutError, ValueError) as error:
            raise Unhealthy(f"the identity provider does not answer at {address}: {type(error).__name__}") from error
        if not isinstance(document, dict):
            raise Unhealthy(f"the identity provider answers with something else than an object at {address}")
        return document


class TokenVerifier:
    """Turns a token into a caller. An async context manager: it holds connections to the provider."""

    def __init__(self, settings: OidcSection) -> None:
        self._settings = settings
        self._http = httpx.AsyncClient(timeout=FETCH_SECONDS, follow_redirects=False)
        self._keys = ProviderKeys(settings, self._http)
        self._algorithms = list(settings.algorithms)
        self._required = [claim.partition("=") for claim in settings.required_claims]

    async def __aenter__(self) -> TokenVerifier:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._http.aclose()

    async def caller(self, token: str) -> Caller | None:
        """Who a token speaks for; None where it is no token at all.

        Raises:
            InvalidToken: it is one, but not valid, not for us, or not now; the message says which.
            Unhealthy: the provider's keys were never fetched and cannot be.
        """
        if token.count(".") != 2:
            return None
        if len(token) > LONGEST_TOKEN:
            raise InvalidToken("the token is too long")
        claims = await self._claims(token)
        self._check(claims)
        owner = _name(claims, self._settings.owner_claim)
        organisation = _name(claims, self._settings.organisation_claim) if self._settings.organisation_claim else "local"
        return Caller(organisation, owner, permissions_of(self._scopes(claims)), credential=f"token:{claims.get('sub', owner)!s:.200}")

    async def _claims(self, token: str) -> Mapping[str, Any]:
        """The claims of a token whose signature holds."""
        try:
            header = jws.extract_compact(token.encode()).headers()
        except (JoseError, ValueError, TypeError) as error:
            raise InvalidToken("the token is malformed") from error
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in self._algorithms:
            raise InvalidToken("the token is signed with an algorithm that is not accepted here")
        key = await self._keys.named(kid if isinstance(kid, str) else None, _KEY_TYPES[str(algorithm)[:2]])
        if key is None:
            raise InvalidToken("the token is signed with a key that its issuer does not publish")
        try:
            return jwt.decode(token, key, algorithms=self._algorithms).claims
        except (JoseError, ValueError, TypeError) as error:
            raise InvalidToken("the token's signature is not valid") from error

    def _check(self, claims: Mapping[str, Any]) -> None:
        registry = jwt.JWTClaimsRegistry(
            leeway=round(self._settings.clock_skew_seconds),
            iss={"essential": True, "value": str(self._settings.issuer)},
            aud={"essential": True, "values": list(self._settings.audience)},
            exp={"essential": True},
        )
        try:
            registry.validate(dict(claims))
        except ExpiredTokenError as error:
            raise InvalidToken(f"the token expired on {_moment(claims['exp'])}") from error
        except MissingClaimError as error:
            raise InvalidToken(f"the token has no {error.claim}") from error
        except ClaimError as error:
            told = {"iss": "is of another issuer", "aud": "is for another audience", "nbf": "is not valid yet", "iat": "is not valid yet"}
            raise InvalidToken(f"the token {told.get(error.claim, f'has a wrong {error.claim}')}") from error
        for name, separator, wanted in self._required:
            found = _claim(claims, name)
            if found is None or (separator and wanted not in (found if isinstance(found, list) else [str(found)])):
                raise InvalidToken(f"the token lacks the claim {name}" + (f" with {wanted}" if separator else ""))

    def _scopes(self, claims: Mapping[str, Any]) -> Sequence[str]:
        """The scopes that are ours; identity providers put others beside them."""
        if not self._settings.scopes_claim:
            return self._settings.default_scopes
        found = _claim(claims, self._settings.scopes_claim)
        words = found.split() if isinstance(found, str) else found if isinstance(found, list) else []
        prefix = self._settings.scope_prefix
        return [scope for word in words if isinstance(word, str) and word.startswith(prefix) and _is_scope(scope := word[len(prefix) :])]


def _claim(claims: Mapping[str, Any], path: str) -> Any:
    """A claim by its name, or by a path into objects, e.g. `realm_access.roles`."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _name(claims: Mapping[str, Any], path: str) -> str:
    """A claim that becomes part of who owns rows."""
    found = _claim(claims, path)
    if not isinstance(found, str) or not found.strip() or len(found) > LONGEST_NAME or not found.isprintable():
        raise InvalidToken(f"the token's claim {path} is no name")
    return found


def _is_scope(word: str) -> bool:
    try:
        checked(word)
    except ValueError:
        return False
    return True


def _is_safe(address: str, *, local: bool) -> bool:
    """Over https; or over http on this machine, where the issuer itself is there."""
    try:
        parts = httpx.URL(address)
    except httpx.InvalidURL:
        return False
    return parts.scheme == "https" or (local and parts.scheme == "http" and parts.host in LOOPBACK_HOSTS)


def _moment(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return "an unknown day"
