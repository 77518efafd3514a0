"""Tokens of an identity provider over HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest
from langgraph_sdk import get_client
from tests.api.people import make_key
from tests.api.serving import serving
from tests.support.issuer import AUDIENCE, Issuer, confused, issuing
from tests.support.servers import ValkeyServer


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing() as running:
        yield running


@pytest.fixture(scope="module")
def url(api_database_url: str, valkey: ValkeyServer, issuer: Issuer) -> Iterator[str]:
    """A server that takes keys and tokens."""
    oidc = {"issuer": issuer.url, "audience": [AUDIENCE], "organisation_claim": "org", "scopes_claim": "scope"}
    with serving(api_database_url, valkey.url, server={"auth": "both"}, oidc=oidc) as address:
        yield address


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.mark.compat("Authentication", "JWT / OIDC", "a token's claims decide owner, organisation and scopes; others' threads are not found")
async def test_people_with_tokens_have_their_own_threads(url: str, issuer: Issuer) -> None:
    ada = issuer.token(sub=f"ada-{uuid4()}", org="acme", scope="openid write")
    bob = issuer.token(sub="bob", org="acme", scope="write")
    async with get_client(url=url, api_key=None, headers=bearer(ada)) as client:
        thread = await client.threads.create()
        values = await client.runs.wait(thread["thread_id"], "echo", input={"text": "hi"})
        assert values["log"][0].startswith("first:hi")  # type: ignore[call-overload,index]
    async with httpx.AsyncClient(base_url=url) as http:
        assert (await http.get(f"/threads/{thread['thread_id']}", headers=bearer(ada))).status_code == 200
        assert (await http.get(f"/threads/{thread['thread_id']}", headers=bearer(bob))).status_code == 404


async def test_a_token_may_do_what_its_scopes_say(url: str, issuer: Issuer) -> None:
    async with httpx.AsyncClient(base_url=url, headers=bearer(issuer.token(org="acme", scope="openid read"))) as client:
        assert (await client.post("/threads/search", json={})).status_code == 200
        assert (await client.post("/threads", json={})).status_code == 403


async def test_keys_and_tokens_go_side_by_side_and_may_be_the_same_person(url: str, issuer: Issuer, api_database_url: str) -> None:
    owner = f"both-{uuid4()}"
    key = await make_key(api_database_url, owner, organisation="acme")
    async with httpx.AsyncClient(base_url=url) as client:
        thread = (await client.post("/threads", json={}, headers={"x-api-key": key})).json()["thread_id"]
        token = issuer.token(sub=owner, org="acme", scope="read")
        for headers in (bearer(token), {"x-api-key": token}):
            assert (await client.get(f"/threads/{thread}", headers=headers)).status_code == 200


@pytest.mark.compat("Authentication", "invalid tokens", "401, and WWW-Authenticate says what is wrong")
async def test_a_wrong_token_is_refused_with_the_reason_in_the_header(url: str, issuer: Issuer) -> None:
    wrong = {
        "the token expired on": issuer.token(org="acme", exp=int(time.time()) - 100),
        "the token is for another audience": issuer.token(org="acme", aud="x"),
        "the token is signed with an algorithm that is not accepted here": confused(issuer),
        "the token's claim org is no name": issuer.token(),
        "the token is malformed": "x.y.z",
    }
    async with httpx.AsyncClient(base_url=url) as client:
        for said, token in wrong.items():
            response = await client.get("/info", headers=bearer(token))
            assert response.status_code == 401
            assert response.json()["code"] == "invalid_token" and response.json()["detail"].startswith(said)
            assert response.headers["www-authenticate"].startswith(f'Bearer error="invalid_token", error_description="{said}')
        for headers in (bearer("nothing"), bearer("fh_nothing"), {}):
            response = await client.get("/info", headers=headers)
            assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")


async def test_with_tokens_alone_keys_are_not_taken(issuer: Issuer, api_database_url: str, valkey: ValkeyServer) -> None:
    oidc = {"issuer": issuer.url, "audience": [AUDIENCE]}
    key = await make_key(api_database_url, "ada")
    with serving(api_database_url, valkey.url, worker=False, server={"auth": "oidc"}, oidc=oidc) as address:
        async with httpx.AsyncClient(base_url=address) as client:
            assert (await client.get("/info", headers={"x-api-key": key})).status_code == 401
            assert (await client.get("/info", headers=bearer(issuer.token()))).status_code == 200


async def test_while_an_issuer_was_never_reached_the_answer_is_503(api_database_url: str, valkey: ValkeyServer) -> None:
    with issuing() as issuer:
        issuer.away = True
        oidc = {"issuer": issuer.url, "audience": [AUDIENCE]}
        with serving(api_database_url, valkey.url, worker=False, server={"auth": "oidc"}, oidc=oidc) as address:
            async with httpx.AsyncClient(base_url=address) as client:
                response = await client.get("/info", headers=bearer(issuer.token()))
    assert response.status_code == 503 and "retry-after" in response.headers
