"""An edge over a running server: planned as `freehold up` plans it, with the real nginx and a certificate of its own."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from freehold.config.settings import Settings
from freehold.operate.certificates.folder import EdgeFolder
from freehold.operate.certificates.keep import Sources, prepare
from freehold.stack.edge.conf import nginx_conf
from freehold.stack.edge.site import site
from freehold.stack.service import Port, Service
from tests.support import nginx
from tests.support.nginx import Nginx


def free_ports() -> dict[str, int]:
    return {name: nginx.free_port() for name in ("https", "redirect", "webui")}


@contextmanager
def edge(
    program: tuple[str, ...],
    server_url: str,
    folder: Path,
    *,
    ports: Mapping[str, int] | None = None,
    behind: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
    **section: Any,
) -> Iterator[Nginx]:
    """nginx in front of a server.

    Args:
        behind: address of each other service, e.g. `{"gateway": "127.0.0.1:4000"}`.
        settings: other sections of freehold.toml.
        section: keys of `[edge]`.
    """
    ports = dict(ports or free_ports())
    own = {"port": ports["https"], "redirect_port": ports["redirect"], "webui_port": ports["webui"], **section}
    planned = Settings.model_validate({**(settings or {}), "edge": own})
    prepare(planned, EdgeFolder(folder), Sources(), datetime.now(UTC))
    services = [Service(name, name, ports=(Port(1, "127.0.0.1", ""),)) for name in behind or {}]
    addresses = {"server": urlsplit(server_url).netloc, **(behind or {})}
    with nginx.running(program, nginx_conf(site(planned, services)), folder, ports=ports, addresses=addresses) as running:
        yield running


def trusting(running: Nginx) -> ssl.SSLContext:
    """For clients that trust its certificate and no other."""
    return ssl.create_default_context(cafile=str(running.folder / "certificate.crt"))


def raw(running: Nginx, request: bytes, *, seconds: float = 30) -> bytes:
    """Send these very bytes over TLS and read until the edge closes the connection."""
    context = trusting(running)
    plain = socket.create_connection(("127.0.0.1", running.ports["https"]), timeout=seconds)
    with context.wrap_socket(plain, server_hostname="localhost") as connection:
        connection.sendall(request)
        return _all(connection)


def status(answer: bytes) -> int:
    """Of the first answer; 0 where there is none: the connection was closed."""
    words = answer.split(b" ", 2)
    return int(words[1]) if len(words) > 1 else 0


def _all(connection: ssl.SSLSocket) -> bytes:
    found = b""
    try:
        while part := connection.recv(65536):
            found += part
    except (TimeoutError, ConnectionError, ssl.SSLError):
        pass
    return found


@dataclass(frozen=True)
class Behind:
    """A service behind the edge that answers with what it was asked."""

    address: str
    #: Every request that reached it: method, path, headers.
    asked: list[dict[str, Any]]


@contextmanager
def telling_service() -> Iterator[Behind]:
    """Stands where the gateway, Open WebUI or a dashboard does, and says what of a request came through to it."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = self.rfile.read(length)
            told = {
                "method": self.command,
                "path": self.path,
                "headers": {name.lower(): value for name, value in self.headers.items()},
                "bytes": len(body),
            }
            asked.append(told)
            text = json.dumps(told).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = do_DELETE = _answer

        def log_message(self, *_: object) -> None: ...

    service = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.daemon_threads = True
    thread = threading.Thread(target=service.serve_forever, daemon=True)
    thread.start()
    try:
        yield Behind(f"127.0.0.1:{service.server_address[1]}", asked)
    finally:
        service.shutdown()
        service.server_close()
        thread.join(10)
