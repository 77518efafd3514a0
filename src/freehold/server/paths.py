"""Where a request goes within the server: its path without the prefix that `http.mount_prefix` puts before every route.

ASGI keeps the prefix in `path` and names it in `root_path`, so that URLs an application makes of its own routes are right.
"""

from __future__ import annotations

from starlette.types import Scope


def route_path(scope: Scope) -> str:
    """`/threads/search` of a request for `/api/threads/search` where `/api` is the prefix."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(root) :] or "/" if root and (path == root or path.startswith(root + "/")) else path
