"""What a body may hold. The refusals over HTTP are in tests/api/test_bad_requests.py."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import HTTPException
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic_core import to_json
from starlette.requests import Request

from freehold.server.json_body import JsonRequest


async def parse(body: bytes) -> Any:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    request: Request = JsonRequest({"type": "http", "headers": []}, receive)
    return await request.json()


UNSTORABLE = (
    b'"\\u0000"',
    b'"\\\\\\u0000"',
    b'{"a\\u0000": 1}',
    b"[1e400]",
    b"-1e999",
    b"1" + b"0" * 400 + b".0",
    b"NaN",
    b"'a'",
)


@pytest.mark.parametrize("body", UNSTORABLE)
async def test_what_cannot_be_stored_is_refused(body: bytes) -> None:
    with pytest.raises(HTTPException) as caught:
        await parse(body)
    assert caught.value.status_code == 422


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"", {}),  # no body says nothing
        (b'"\\\\u0000"', "\\u0000"),
        (b'"1e999"', "1e999"),
        (b"1e300", 1e300),
        (b"12345678901234567890123", 12345678901234567890123),
        ('"ü\\ud83d\\ude00"'.encode(), "ü😀"),
    ],
)
async def test_what_only_looks_like_it_passes(body: bytes, value: Any) -> None:
    assert await parse(body) == value


_text = st.text(alphabet=st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _text,
    lambda inner: st.lists(inner) | st.dictionaries(_text, inner),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
@given(_json)
async def test_any_other_json_comes_through_unchanged(value: Any) -> None:
    assert await parse(to_json(value)) == ({} if value is None else value)  # null is as good as no body
