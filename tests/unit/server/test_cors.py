"""Which pages may call: by name, by pattern, or all of them where callers have credentials."""

from __future__ import annotations

import pytest

from freehold.graphs.project_config import CorsConfig
from freehold.server.cors import Origins


def origins(*, everybody: bool = False, listed: tuple[str, ...] = (), **cors: object) -> Origins:
    return Origins(listed, CorsConfig.model_validate(cors, strict=False), everybody=everybody)


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (b"https://app.example", True),
        (b"https://a.team.example", True),
        (b"https://a.team.example.evil.example", False),
        (b"http://app.example", False),
        (b"null", False),
        (b"", False),
    ],
)
def test_an_origin_is_listed_by_name_or_by_a_pattern_for_the_whole_of_it(origin: bytes, expected: bool) -> None:
    rules = origins(allow_origins=("https://app.example/",), allow_origin_regex=r"https://\w+\.team\.example").rules(origin)
    assert (rules is not None) is expected


@pytest.mark.parametrize("cors", [{"allow_origins": ("*",)}, {"allow_origin_regex": ".*"}, {"allow_origin_regex": "https?://.*"}])
def test_everybody_counts_only_where_callers_have_credentials(cors: dict[str, object]) -> None:
    assert origins(**cors).rules(b"https://any.example") is None
    assert origins(everybody=True, **cors).rules(b"https://any.example") is not None


def test_everybody_is_told_a_star_unless_credentials_are_sent() -> None:
    plain = origins(everybody=True, allow_origins=("*",)).rules(b"https://any.example")
    with_credentials = origins(everybody=True, allow_origins=("*",), allow_credentials=True).rules(b"https://any.example")
    assert plain and with_credentials
    assert dict(plain.headers(b"https://any.example"))[b"access-control-allow-origin"] == b"*"
    told = dict(with_credentials.headers(b"https://any.example"))
    assert (told[b"access-control-allow-origin"], told[b"vary"]) == (b"https://any.example", b"Origin")


def test_what_freehold_toml_lists_may_do_everything() -> None:
    rules = origins(listed=("http://localhost:3000",), allow_methods=("GET",)).rules(b"http://localhost:3000")
    assert rules
    told = dict(rules.preflight({b"access-control-request-headers": b"x-any"}))
    assert (told[b"access-control-allow-methods"], told[b"access-control-allow-headers"]) == (
        b"GET, POST, PUT, PATCH, DELETE, OPTIONS",
        b"x-any",
    )


def test_a_page_may_send_what_is_listed_and_what_is_always_safe() -> None:
    rules = origins(allow_origins=("https://app.example",), allow_headers=("x-tenant",), allow_methods=("*",)).rules(b"https://app.example")
    assert rules
    told = dict(rules.preflight({b"access-control-request-headers": b"x-other"}))
    assert told[b"access-control-allow-headers"] == b"accept, accept-language, content-language, content-type, x-tenant"
    assert b"DELETE" in told[b"access-control-allow-methods"]
