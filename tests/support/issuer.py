"""An identity provider: publishes its keys over HTTP and signs tokens, right ones and wrong ones."""

from __future__ import annotations

import base64
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

AUDIENCE = "freehold"


class Issuer:
    """Holds its keys; `url` is where it answers, and what its tokens have in `iss`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.rsa = RSAKey.generate_key(2048, {"kid": "rsa-1", "use": "sig"})
        self.ec = ECKey.generate_key("P-256", {"kid": "ec-1"})
        self.published: list[Any] = [self.rsa, self.ec]
        #: Paths that were asked for.
        self.asked: list[str] = []
        self.away = False
        #: Answers instead of its own, by path.
        self.instead: dict[str, Any] = {}

    def rotate(self, name: str) -> None:
        """Another RSA key in the place of all."""
        self.rsa = RSAKey.generate_key(2048, {"kid": name, "use": "sig"})
        self.published = [self.rsa]

    def token(self, *, key: Any = None, algorithm: str | None = None, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token that is right but for what is given; a claim of None is left out."""
        key = key or self.rsa
        algorithm = algorithm or {"RSA": "RS256", "EC": "ES256"}[key.key_type]
        now = int(time.time())
        full = {"iss": self.url, "aud": AUDIENCE, "sub": "ada", "iat": now, "exp": now + 300, **claims}
        head = {"alg": algorithm, "kid": key.kid, **(header or {})}
        present = {name: value for name, value in head.items() if value is not None}
        return jwt.encode(present, {name: value for name, value in full.items() if value is not None}, key, algorithms=[algorithm])

    def answer(self, path: str) -> Any:
        """What stands at a path; None: nothing."""
        if path in self.instead:
            return self.instead[path]
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        return KeySet(self.published).as_dict(private=False) if path == "/keys" else None


def confused(issuer: Issuer) -> str:
    """A token signed as who only knows the public key can: with it as if it were a shared secret."""
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"rsa-1"}').decode().rstrip("=")
    signed = f"{head}.{issuer.token().split('.')[1]}"
    signature = hmac.digest(issuer.rsa.as_pem(private=False), signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


@contextmanager
def issuing() -> Iterator[Issuer]:
    """An issuer on a free port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    issuer = Issuer(f"http://127.0.0.1:{server.server_address[1]}")
    server.issuer = issuer  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, name="issuer", kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        issuer: Issuer = self.server.issuer  # type: ignore[attr-defined]
        issuer.asked.append(self.path)
        found = None if issuer.away else issuer.answer(self.path)
        if isinstance(found, str):  # an address to go to instead
            self.send_response(302)
            self.send_header("Location", found)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = found if isinstance(found, bytes) else json.dumps(found).encode()
        self.send_response(503 if issuer.away else 200 if found is not None else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing."""
