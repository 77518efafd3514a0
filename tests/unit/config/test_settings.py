from __future__ import annotations

import pytest
from pydantic import ValidationError

from freehold.config.model import ModelSection
from freehold.config.settings import OidcSection, RetentionSection, ServerSection, Settings


@pytest.mark.parametrize(
    ("host", "auth", "needs_keys"),
    [
        ("127.0.0.1", "auto", False),
        ("localhost", "auto", False),
        ("::1", "auto", False),
        ("0.0.0.0", "auto", True),
        ("192.168.1.5", "auto", True),
        ("127.0.0.1", "keys", True),
        ("127.0.0.1", "none", False),
    ],
)
def test_keys_are_needed_off_loopback_or_when_asked_for(host: str, auth: str, needs_keys: bool) -> None:
    assert ServerSection.model_validate({"host": host, "auth": auth}).needs_keys is needs_keys


@pytest.mark.parametrize(
    ("auth", "keys", "tokens"), [("none", False, False), ("keys", True, False), ("oidc", False, True), ("both", True, True)]
)
def test_keys_and_tokens_are_taken_where_that_is_said(auth: str, keys: bool, tokens: bool) -> None:
    section = ServerSection.model_validate({"auth": auth})
    assert (section.takes_keys, section.takes_tokens, section.needs_keys) == (keys, tokens, keys or tokens)


@pytest.mark.parametrize("algorithm", ["none", "HS256", "HS512"])
def test_tokens_are_never_checked_with_a_shared_secret(algorithm: str) -> None:
    with pytest.raises(ValidationError):
        OidcSection.model_validate({"algorithms": [algorithm]})


@pytest.mark.parametrize("url", ["http://login.example.com", "http://10.0.0.1/keys", "ftp://x", "login.example.com", "file:///etc/passwd"])
def test_an_issuer_is_asked_over_https_or_on_this_machine(url: str) -> None:
    for key in ("issuer", "jwks_url"):
        with pytest.raises(ValidationError, match="expected a URL"):
            OidcSection.model_validate({key: url})
    assert OidcSection(issuer="http://127.0.0.1:9000/realm", jwks_url="https://login.example.com/keys").issuer


def test_scopes_of_tokens_are_checked_when_they_are_read() -> None:
    with pytest.raises(ValidationError, match=r'did you mean "write"\?'):
        OidcSection(default_scopes=("wirte",))


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8123"),
        ("0.0.0.0", "http://127.0.0.1:8123"),
        ("::", "http://[::1]:8123"),
        ("::1", "http://[::1]:8123"),
        ("box.lan", "http://box.lan:8123"),
    ],
)
def test_the_url_is_one_a_local_client_can_open(host: str, url: str) -> None:
    assert ServerSection(host=host).url == url


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().server.port = 1


def test_a_base_url_loses_its_trailing_slash() -> None:
    assert ModelSection(base_url="http://x/v1/").base_url == "http://x/v1"


@pytest.mark.parametrize("age", ["30", "0d", "a month"])
def test_nothing_is_removed_at_an_age_nobody_can_have_meant(age: str) -> None:
    with pytest.raises(ValidationError, match="expected an age"):
        RetentionSection(checkpoints=age)
