"""Which headers runs are told of: what patterns take, and what they never take."""

from __future__ import annotations

import pytest
import structlog
from starlette.types import Message, Receive, Scope, Send

from freehold.core.run import RunRequest
from freehold.graphs.project_config import HeaderPatterns
from freehold.server.request_headers import HeaderRules, RequestHeaders, with_headers

SENT = [
    (b"x-tenant-id", b"t1"),
    (b"x-tenant-key", b"s3cret"),
    (b"authorization", b"Bearer x"),
    (b"cookie", b"a=b"),
    (b"user-agent", b"curl"),
    (b"thread_id", b"forged"),
    (b"langgraph_auth_user", b"admin"),
]


def chosen(includes: tuple[str, ...] | None, excludes: tuple[str, ...] | None = None) -> set[str]:
    return set(HeaderRules(HeaderPatterns(includes=includes, excludes=excludes)).chosen({"headers": SENT}))


@pytest.mark.parametrize(
    ("includes", "excludes", "expected"),
    [
        (None, None, set()),
        (("x-tenant-*",), None, {"x-tenant-id"}),
        (("X-Tenant-ID",), None, {"x-tenant-id"}),
        (("*",), None, {"x-tenant-id", "user-agent"}),
        (("*",), ("user-*",), {"x-tenant-id"}),
        (("*", "authorization", "x-tenant-key"), None, {"x-tenant-id", "user-agent", "authorization", "x-tenant-key"}),
        (("authorization",), ("auth*",), set()),
        (("thread_id", "langgraph_*"), None, set()),
        (("x-tenant-i?", "x-tenant-[i]d"), None, set()),
    ],
)
def test_patterns_take_what_they_match_but_no_credentials_and_no_keys_of_ours(
    includes: tuple[str, ...] | None, excludes: tuple[str, ...] | None, expected: set[str]
) -> None:
    assert chosen(includes, excludes) == expected


async def test_log_lines_of_a_request_carry_what_is_asked_for() -> None:
    seen: dict[str, object] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.update(structlog.contextvars.get_contextvars())

    async def nothing(*_: object) -> Message:
        return {"type": "http.request"}

    with structlog.contextvars.bound_contextvars(headers=None):
        logged = RequestHeaders(app, None, HeaderPatterns(includes=("x-tenant-*",)))
        await logged({"type": "http", "headers": SENT}, nothing, nothing)  # type: ignore[arg-type]
    assert seen["headers"] == {"x-tenant-id": "t1"}


def test_without_rules_nothing_is_told() -> None:
    assert HeaderRules(None).chosen({"headers": SENT}) == {}
    request = RunRequest(config={"configurable": {"a": 1}})
    assert with_headers(request) is request
