"""How deliveries are signed, and when they are tried again."""

from __future__ import annotations

import base64
import hashlib
import hmac
from uuid import UUID

from freehold.core.webhook import LONGEST_PAUSE_SECONDS, owner_secret, pause_after, signature_headers

DELIVERY = UUID("018f0000-0000-7000-8000-000000000001")


def test_each_owner_has_a_secret_of_their_own_and_always_the_same() -> None:
    secrets = {owner_secret("master", organisation, owner) for organisation in ("a", "b") for owner in ("a", "b", "ab")}
    assert len(secrets) == 6
    assert owner_secret("master", "a", "b") in secrets and owner_secret("other", "a", "b") not in secrets
    assert all(secret.startswith("whsec_") and "master" not in secret for secret in secrets)


def test_our_signature_is_what_the_guide_tells_receivers_to_compute() -> None:
    secret = owner_secret("master", "local", "local")
    headers = signature_headers(secret, DELIVERY, 1_700_000_000, b'{"a":1}')
    expected = hmac.new(secret.encode(), b'1700000000.{"a":1}', hashlib.sha256).hexdigest()
    assert headers["X-Freehold-Signature"] == f"t=1700000000,v1={expected}"


def test_the_standard_signature_is_over_id_time_and_body_with_the_decoded_secret() -> None:
    secret = owner_secret("master", "local", "local")
    headers = signature_headers(secret, DELIVERY, 1_700_000_000, b"{}")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, f"{DELIVERY}.1700000000.{{}}".encode(), hashlib.sha256).digest()).decode()
    assert headers["webhook-id"] == str(DELIVERY) and headers["webhook-timestamp"] == "1700000000"
    assert headers["webhook-signature"] == f"v1,{expected}"


def test_eight_tries_take_about_a_day() -> None:
    total = sum(pause_after(attempts, 10) for attempts in range(1, 8))
    assert 0.7 * 86_400 < total < 1.4 * 86_400


def test_pauses_grow_and_are_never_longer_than_a_day_nor_shorter_than_asked_for() -> None:
    assert 8 <= pause_after(1, 10) <= 12 and 35 <= pause_after(2, 10) <= 53
    assert pause_after(20, 3600) == LONGEST_PAUSE_SECONDS
    assert pause_after(1, 10, asked=300) == 300
    assert pause_after(1, 10, asked=10**6) == LONGEST_PAUSE_SECONDS
