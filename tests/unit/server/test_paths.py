"""Paths without the prefix a server is mounted under."""

from __future__ import annotations

import pytest

from freehold.server.paths import route_path


@pytest.mark.parametrize(
    ("path", "root", "expected"),
    [
        ("/threads", "", "/threads"),
        ("/api/threads", "/api", "/threads"),
        ("/api", "/api", "/"),
        ("/api/", "/api", "/"),
        ("/apix/threads", "/api", "/apix/threads"),
        ("/api/api/x", "/api", "/api/x"),
        ("/a/b/c", "/a/b", "/c"),
    ],
)
def test_the_prefix_is_taken_off_once(path: str, root: str, expected: str) -> None:
    assert route_path({"path": path, "root_path": root}) == expected
