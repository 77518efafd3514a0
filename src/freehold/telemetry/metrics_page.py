"""The metrics of a process without an HTTP server of its own: a worker in a container, where nobody shares a folder with it.

In a thread, so that it answers while a graph blocks the event loop, which is when one wants to see metrics.
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST

from freehold.telemetry.metrics import own_exposition

#: A client that says nothing for so long is let go.
PATIENCE_SECONDS = 10.0


@contextmanager
def showing_metrics(address: str | None, *, key: str | None) -> Iterator[None]:
    """Serve `GET /metrics` on `HOST:PORT` to whoever has the key; without an address nothing is served.

    Raises:
        OSError: the address is taken.
    """
    if not address:
        yield
        return
    host, _, port = address.rpartition(":")
    server = ThreadingHTTPServer((host, int(port)), _handler(key))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def _handler(key: str | None) -> type[BaseHTTPRequestHandler]:
    class Page(BaseHTTPRequestHandler):
        timeout = PATIENCE_SECONDS
        server_version, sys_version = "freehold", ""

        def do_GET(self) -> None:
            given = self.headers.get("authorization", "").removeprefix("Bearer ").strip()
            if key and not hmac.compare_digest(given.encode(), key.encode()):
                self._answer(401, b"a key is needed\n", "text/plain")
            elif self.path.partition("?")[0] == "/metrics":
                self._answer(200, own_exposition(), CONTENT_TYPE_LATEST)
            else:
                self._answer(404, b"metrics are at /metrics\n", "text/plain")

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Asked every few seconds: not worth a line."""

    return Page
