"""What URLs a client may give us."""

from __future__ import annotations

import pytest

from freehold.core.errors import InvalidRequest
from freehold.outbound.address import Allowed
from freehold.outbound.policy import UrlPolicy

LAN = Allowed.parse(["hooks.lan", "127.0.0.0/8"])


@pytest.mark.parametrize("text", ["https://example.com", "https://example.com:8443/hook?a=b", "https://xn--mnchen-3ya.example/x"])
def test_https_urls_are_taken_as_they_are(text: str) -> None:
    assert str(UrlPolicy().parse(text)) == text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nope", "expected a URL"),
        ("", "expected a URL"),
        ("ftp://example.com/", "expected a URL"),
        ("https:///path", "expected a URL"),
        ("file:///etc/passwd", "expected a URL"),
        ("http://example.com/", "expected https"),
        ("https://user:secret@example.com/", "user name or password"),
        ("https://user@example.com/", "user name or password"),
        ("https://example.com\\@127.0.0.1/", "without spaces"),
        ("https://example.com/a b", "without spaces"),
        ("https://example.com/\r\nHost: x", "without spaces"),
        ("https://exämple.com/", "without spaces"),
        ("https://example.com:99999/", "expected a port"),
        ("https://0177.0.0.1/", "not a URL"),
        ("https://example.com/" + "a" * 2048, "longer than"),
        ("/hooks/done", "a path leads back"),
        ("//example.com/x", "a path leads back"),
    ],
)
def test_what_is_not_allowed_is_refused_and_says_why(text: str, told: str) -> None:
    with pytest.raises(InvalidRequest, match=told) as refused:
        UrlPolicy().parse(text)
    assert "secret" not in refused.value.message


def test_http_is_enough_for_hosts_that_were_named_and_for_all_where_https_is_not_required() -> None:
    UrlPolicy(allowed=LAN, http_allowed=LAN).parse("http://hooks.lan:9000/x")
    UrlPolicy(require_https=False).parse("http://example.com/")
    with pytest.raises(InvalidRequest, match="expected https"):
        UrlPolicy(allowed=LAN).parse("http://hooks.lan:9000/x")


def test_only_domains_and_ports_that_are_listed_are_allowed_where_there_are_lists() -> None:
    policy = UrlPolicy(domains=("hooks.example.com", "*.corp.example"), ports=(443, 8443))
    for text in ("https://hooks.example.com/", "https://HOOKS.example.com./x", "https://a.b.corp.example:8443/"):
        policy.parse(text)
    for text in ("https://example.com/", "https://corp.example/", "https://evilcorp.example/", "https://hooks.example.com.evil.test/"):
        with pytest.raises(InvalidRequest, match="this host is not allowed"):
            policy.parse(text)
    with pytest.raises(InvalidRequest, match="this port is not allowed"):
        policy.parse("https://hooks.example.com:22/")


def test_a_path_is_one_of_our_own_where_paths_are_allowed() -> None:
    policy = UrlPolicy(paths=True)
    assert str(policy.parse("/hooks/done?x=1#y")) == "/hooks/done?x=1"
    for text in ("//example.com/x", "/a/../../b", "/.."):
        with pytest.raises(InvalidRequest, match="expected a path"):
            policy.parse(text)


def test_nothing_is_allowed_where_webhooks_are_switched_off() -> None:
    with pytest.raises(InvalidRequest, match="sends none"):
        UrlPolicy(enabled=False).parse("https://example.com/")


@pytest.mark.parametrize(
    "text",
    [
        "https://127.0.0.1/",
        "https://localhost/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://127.1/",
        "https://0/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[fe80::1]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://10.0.0.1/",
        "https://100.64.0.1/",
        "https://224.0.0.1/",
    ],
)
async def test_what_leads_to_an_address_that_is_not_public_is_refused_however_it_is_written(text: str) -> None:
    with pytest.raises(InvalidRequest, match="not public"):
        await UrlPolicy().check(text)


async def test_a_name_nobody_knows_now_is_checked_later() -> None:
    await UrlPolicy().check("https://there-is-no-such-host.invalid/")
    await UrlPolicy().check("https://" + "a" * 64 + ".invalid/")


async def test_an_address_that_was_allowed_is_not_refused() -> None:
    await UrlPolicy(allowed=LAN, http_allowed=LAN).check("http://127.0.0.1:9000/x")
