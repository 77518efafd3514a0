"""Variables of nginx.conf: what a request is known by, what it may say of itself, and what is written down about it.

Headers that clients send are taken over only where they are well-formed, so that nothing of theirs gets into logs, traces or the
server that looks like something else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from freehold.stack.edge.syntax import Directive, block, comment, directive

#: 16 shares of a request's hash and 6 hashes: 24 bits, so that a thousand keys rarely meet.
_DIGITS = "0123456789abcdef"
_HASHES = 6

#: What an answer has unless the service behind set it itself.
DEFAULT_HEADERS: Mapping[str, tuple[str, str]] = {
    "X-Content-Type-Options": ("$upstream_http_x_content_type_options", "nosniff"),
    "Referrer-Policy": ("$upstream_http_referrer_policy", "same-origin"),
    "Content-Security-Policy": ("$upstream_http_content_security_policy", "frame-ancestors 'self'"),
    "X-Request-Id": ("$upstream_http_x_request_id", "$known_request_id"),
}

#: The access log: no query (it may hold keys), no header that identifies, nothing of the body.
_LOGGED: Mapping[str, str] = {
    "time": "$time_iso8601",
    "request_id": "$known_request_id",
    "address": "$remote_addr",
    "method": "$request_method",
    "host": "$host",
    "path": "$path_alone",
    "protocol": "$server_protocol",
    "status": "$status",
    "bytes_in": "$request_length",
    "bytes_out": "$bytes_sent",
    "seconds": "$request_time",
    "upstream": "$upstream_addr",
    "upstream_status": "$upstream_status",
    "upstream_seconds": "$upstream_response_time",
    "tls": "$ssl_protocol",
    "agent": "$http_user_agent",
}


def taken_over() -> Iterable[Directive]:
    """Of what a client says: its request id and trace where they are well-formed, an upgrade where it is to a WebSocket."""
    yield _map("$http_x_request_id", "$known_request_id", {"~^[A-Za-z0-9._:-]{1,128}$": "$http_x_request_id"}, "$request_id")
    trace = "~^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"
    yield _map("$http_traceparent", "$known_traceparent", {trace: "$http_traceparent"}, "")
    yield _map("$known_traceparent", "$known_tracestate", {"": ""}, "$http_tracestate")
    yield _map("$http_upgrade", "$known_upgrade", {"~*^websocket$": "websocket"}, "")
    yield _map("$known_upgrade", "$known_connection", {"": ""}, "upgrade")


def credential_hash() -> Iterable[Directive]:
    """`$credential_hash`: a short hash of the key or token a request carries, empty where it has none.

    Limits are counted by it, as a zone keeps what it counts by in memory in clear. nginx has no digest of its own, but it hashes a
    text to choose one of several values: six such choices of a hexadecimal digit make a hash.
    """
    yield _map("$http_authorization", "$bearer", {r"~*^bearer\s+(?<token>\S+)": "$token"}, "")
    yield _map("$http_x_api_key", "$credential", {"": "$bearer"}, "$http_x_api_key")
    for number in range(_HASHES):
        shares = [directive("6.25%" if digit != _DIGITS[-1] else "*", digit) for digit in _DIGITS]
        yield block("split_clients", f"{number}:$credential", f"$digit_{number}", body=shares)
    yield _map("$credential", "$credential_hash", {"": ""}, "".join(f"$digit_{number}" for number in range(_HASHES)))


def answer_headers() -> Iterable[Directive]:
    """`$default_…` of each header that an answer gets where the service behind did not set it; else empty, and so not sent again."""
    for name, (theirs, value) in DEFAULT_HEADERS.items():
        yield _map(theirs, default_header(name), {"": value}, "")


def default_header(name: str) -> str:
    return f"$default_{name.lower().replace('-', '_')}"


def foreign_pages() -> Iterable[Directive]:
    """`$foreign`: a page of another site sends this, not a person who follows a link. Browsers add passwords to such requests too."""
    told = "$http_sec_fetch_site:$http_sec_fetch_mode:$request_method"
    yield _map(told, "$foreign", {"~^(?:cross|same)-site:navigate:GET$": "", "~^(?:cross|same)-site:": "1"}, "")


def access_log() -> Iterable[Directive]:
    yield _map("$request_uri", "$path_alone", {"~^(?<path_of_it>[^?]*)": "$path_of_it"}, "")
    line = "{" + ",".join(f'"{name}":"{variable}"' for name, variable in _LOGGED.items()) + "}"
    yield comment("Without queries, credentials and cookies. Errors of requests would quote the whole request line: they are")
    yield comment("seen here by status and upstream_status, and only what endangers the program itself goes to the error log.")
    yield directive("log_format", "plain", "escape=json", line)
    yield directive("access_log", "/dev/stdout", "plain")
    yield directive("error_log", "stderr", "crit")


def _map(source: str, variable: str, values: Mapping[str, str], default: str) -> Directive:
    lines = [directive(*pair) for pair in values.items()] if values else []
    return block("map", source, variable, body=[directive("default", default), *lines])
