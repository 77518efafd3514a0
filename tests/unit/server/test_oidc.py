"""Tokens, against an issuer that really answers over HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from joserfc.jwk import RSAKey
from tests.support.issuer import AUDIENCE, Issuer, confused, issuing

from freehold.config.settings import OidcSection
from freehold.core.errors import InvalidToken, Unhealthy
from freehold.core.permissions import GROUPS
from freehold.server import oidc
from freehold.server.oidc import TokenVerifier


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as running:
        yield running


@pytest.fixture
async def verifier(issuer: Issuer) -> AsyncIterator[TokenVerifier]:
    async with make(issuer) as made:
        yield made


def make(issuer: Issuer, **settings: Any) -> TokenVerifier:
    return TokenVerifier(OidcSection.model_validate({"issuer": issuer.url, "audience": (AUDIENCE, "other-name"), **settings}))


async def test_a_token_names_its_owner(issuer: Issuer, verifier: TokenVerifier) -> None:
    caller = await verifier.caller(issuer.token(sub="ada"))
    assert caller
    assert (caller.organisation, caller.owner, caller.credential) == ("local", "ada", "token:ada")
    assert caller.permissions == GROUPS["write"]


async def test_signatures_with_elliptic_curves_are_taken_too(issuer: Issuer, verifier: TokenVerifier) -> None:
    assert await verifier.caller(issuer.token(key=issuer.ec))


async def test_one_of_several_audiences_is_enough(issuer: Issuer, verifier: TokenVerifier) -> None:
    assert await verifier.caller(issuer.token(aud=["elsewhere", "other-name"]))


async def test_a_text_that_is_no_token_is_nobody(verifier: TokenVerifier) -> None:
    assert await verifier.caller("not-a-token") is None


def tampered(issuer: Issuer) -> str:
    head, body, signature = issuer.token().split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    forged = base64.urlsafe_b64encode(json.dumps({**claims, "sub": "root"}).encode()).decode().rstrip("=")
    return f"{head}.{forged}.{signature}"


def unsigned(issuer: Issuer) -> str:
    head = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    return f"{head}.{issuer.token().split('.')[1]}."


WRONG: dict[str, tuple[Callable[[Issuer], str], str]] = {
    "expired": (lambda issuer: issuer.token(exp=int(time.time()) - 60), "expired on 20"),
    "not yet valid": (lambda issuer: issuer.token(nbf=int(time.time()) + 120), "not valid yet"),
    "issued tomorrow": (lambda issuer: issuer.token(iat=int(time.time()) + 86400), "not valid yet"),
    "without an end": (lambda issuer: issuer.token(exp=None), "has no exp"),
    "an end that is no time": (lambda issuer: issuer.token(exp="soon"), "wrong exp"),
    "for another audience": (lambda issuer: issuer.token(aud="elsewhere"), "another audience"),
    "for no audience": (lambda issuer: issuer.token(aud=None), "has no aud"),
    "of another issuer": (lambda issuer: issuer.token(iss="https://evil.example"), "another issuer"),
    "of no issuer": (lambda issuer: issuer.token(iss=None), "has no iss"),
    "without a signature": (unsigned, "algorithm that is not accepted"),
    "with the public key as a shared secret": (confused, "algorithm that is not accepted"),
    "with a key of somebody else": (lambda issuer: issuer.token(key=RSAKey.generate_key(2048, {"kid": "rsa-1"})), "signature is not valid"),
    "with a key that is not published": (lambda issuer: issuer.token(key=RSAKey.generate_key(2048, {"kid": "mine"})), "does not publish"),
    "with a key of another kind": (lambda issuer: issuer.token(header={"kid": "ec-1"}), "does not publish"),
    "changed afterwards": (tampered, "signature is not valid"),
    "malformed": (lambda issuer: "a.b.c", "malformed"),
    "far too long": (lambda issuer: issuer.token(more="x" * 20_000), "too long"),
    "an owner that is no name": (lambda issuer: issuer.token(sub=""), "is no name"),
    "an owner with a NUL character": (lambda issuer: issuer.token(sub="a\x00b"), "is no name"),
    "an owner that is no text": (lambda issuer: issuer.token(sub=["ada"]), "wrong sub|is no name"),
}


@pytest.mark.parametrize("kind", WRONG)
async def test_a_wrong_token_is_refused_and_told_why(issuer: Issuer, verifier: TokenVerifier, kind: str) -> None:
    make_token, said = WRONG[kind]
    with pytest.raises(InvalidToken, match=said):
        await verifier.caller(make_token(issuer))


async def test_clocks_may_differ_a_little(issuer: Issuer, verifier: TokenVerifier) -> None:
    now = int(time.time())
    assert await verifier.caller(issuer.token(exp=now - 10, nbf=now - 300))
    assert await verifier.caller(issuer.token(nbf=now + 10, iat=now + 10))


async def test_keys_are_fetched_once_for_many_tokens(issuer: Issuer, verifier: TokenVerifier) -> None:
    await asyncio.gather(*(verifier.caller(issuer.token(sub=f"u{number}")) for number in range(20)))
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]


async def test_a_new_key_of_the_issuer_is_taken_at_once(issuer: Issuer, verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch) -> None:
    before = issuer.token()
    assert await verifier.caller(before)
    monkeypatch.setattr(oidc, "PAUSE_SECONDS", 0.0)
    issuer.rotate("rsa-2")
    assert await verifier.caller(issuer.token())
    with pytest.raises(InvalidToken, match="does not publish"):  # the old key was withdrawn
        await verifier.caller(before)


async def test_unknown_keys_do_not_make_us_ask_without_end(issuer: Issuer, verifier: TokenVerifier) -> None:
    await verifier.caller(issuer.token())
    asked = len(issuer.asked)
    for number in range(10):
        with pytest.raises(InvalidToken):
            await verifier.caller(issuer.token(header={"kid": f"guess-{number}"}))
    assert len(issuer.asked) == asked


async def test_known_keys_go_on_working_while_the_issuer_is_away(
    issuer: Issuer, verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await verifier.caller(issuer.token())
    monkeypatch.setattr(oidc, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(oidc, "FRESH_SECONDS", 0.0)
    issuer.away = True
    asked = len(issuer.asked)
    assert await verifier.caller(issuer.token())
    while len(issuer.asked) == asked:
        await asyncio.sleep(0.01)
    assert await verifier.caller(issuer.token())


async def test_without_any_keys_the_issuer_is_named_as_what_is_not_well(issuer: Issuer, verifier: TokenVerifier) -> None:
    issuer.away = True
    with pytest.raises(Unhealthy, match="identity provider answers 503"):
        await verifier.caller(issuer.token())


@pytest.mark.parametrize(
    ("path", "answer", "said"),
    [
        ("/.well-known/openid-configuration", {"issuer": "https://evil.example", "jwks_uri": "https://evil.example/keys"}, "another name"),
        ("/.well-known/openid-configuration", {"jwks_uri": "http://10.0.0.1/keys"}, "another name|no https address"),
        ("/keys", "http://127.0.0.1:1/elsewhere", "answers 302"),
        ("/keys", b"[" * 1_500_000, "too much"),
        ("/keys", b"<html>", "does not answer"),
        ("/keys", {"keys": []}, "no keys that can be read"),
        ("/keys", {"something": "else"}, "no keys that can be read"),
    ],
)
async def test_what_an_issuer_should_not_answer_is_not_believed(
    issuer: Issuer, verifier: TokenVerifier, path: str, answer: Any, said: str
) -> None:
    issuer.instead[path] = answer
    with pytest.raises(Unhealthy, match=said):
        await verifier.caller(issuer.token())


async def test_keys_over_plain_http_are_taken_of_this_machine_only(issuer: Issuer, verifier: TokenVerifier) -> None:
    issuer.instead["/.well-known/openid-configuration"] = {"issuer": issuer.url, "jwks_uri": "http://10.0.0.1/keys"}
    with pytest.raises(Unhealthy, match="no https address"):
        await verifier.caller(issuer.token())


async def test_a_token_without_a_key_name_is_checked_with_the_only_key_there_is(issuer: Issuer, verifier: TokenVerifier) -> None:
    assert await verifier.caller(issuer.token(header={"kid": None}))


async def test_claims_may_name_organisation_and_scopes(issuer: Issuer) -> None:
    settings = {"organisation_claim": "org.id", "owner_claim": "email", "scopes_claim": "scope", "scope_prefix": "freehold:"}
    async with make(issuer, **settings) as verifier:
        caller = await verifier.caller(
            issuer.token(org={"id": "acme"}, email="ada@acme.example", scope="openid freehold:threads:read freehold:fly admin")
        )
        assert caller
        assert (caller.organisation, caller.owner, caller.permissions) == ("acme", "ada@acme.example", {"threads:read"})
        with pytest.raises(InvalidToken, match=r"org\.id is no name"):
            await verifier.caller(issuer.token(email="ada@acme.example"))
        nothing = await verifier.caller(issuer.token(org={"id": "acme"}, email="eve@acme.example"))
        assert nothing and nothing.permissions == frozenset()


async def test_scopes_may_be_a_list(issuer: Issuer) -> None:
    async with make(issuer, scopes_claim="realm_access.roles") as verifier:
        caller = await verifier.caller(issuer.token(realm_access={"roles": ["run", "offline_access", 7]}))
        assert caller and caller.permissions == GROUPS["run"]


@pytest.mark.parametrize(
    ("claims", "taken"),
    [
        ({"groups": ["staff", "x"], "email": "a"}, True),
        ({"groups": "staff", "email": "a"}, True),
        ({"groups": ["x"], "email": "a"}, False),
        ({"groups": ["staff"]}, False),
        ({"groups": "staffer", "email": "a"}, False),
    ],
)
async def test_claims_may_be_required(issuer: Issuer, claims: dict[str, Any], taken: bool) -> None:
    async with make(issuer, required_claims=("email", "groups=staff")) as verifier:
        if taken:
            assert await verifier.caller(issuer.token(**claims))
        else:
            with pytest.raises(InvalidToken, match="lacks the claim"):
                await verifier.caller(issuer.token(**claims))
