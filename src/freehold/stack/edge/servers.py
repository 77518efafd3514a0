"""The server blocks of nginx.conf: HTTP, unknown names, the main server with its routes, services under names of their own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from freehold.stack.edge import variables
from freehold.stack.edge.routes import ROUTES, Route
from freehold.stack.edge.site import Shown, Site
from freehold.stack.edge.syntax import Directive, block, directive

#: What this answers by itself, in the words of the server's own errors.
_REFUSALS: Mapping[int, tuple[str, str]] = {
    401: ("unauthenticated", "an API key or a token is needed"),
    403: ("forbidden", "this credential does not reach so far, or a page of another site sent this"),
    404: ("not_found", "no such path"),
    405: ("method_not_allowed", "this path takes other methods"),
    413: ("too_large", "the request body is too large"),
    421: ("forbidden_host", "this server does not answer to that host name"),
    429: ("too_many_requests", "too many requests, try again in a moment"),
    502: ("unavailable", "the service behind this path does not answer"),
    503: ("unavailable", "the service behind this path is not ready"),
    504: ("timed_out", "the service behind this path took too long"),
}

#: Locations that only this file refers to.
_CHECK, _CHECK_ADMIN = "/edge/check", "/edge/check-admin"

#: Where Basic puts name and password: meant for this program, or for its question to the server, and for nobody behind.
_PASSWORDS = ("Authorization",)


def servers(site: Site) -> Iterator[Directive]:
    """All of them; for each address the one for unknown names comes first."""
    yield _server(_plain("default_server"), directive("server_name", "_"), *_always(), _location("/", directive("return", 421)))
    known = dict.fromkeys((*site.names, *(shown.name for shown in site.shown if shown.name)))
    goal = f"https://$host{site.host_suffix}$request_uri"
    yield _server(_plain(), directive("server_name", *known), *_always(), _location("/", directive("return", 301, goal)))
    for port in dict.fromkeys(("https", *(_port(shown) for shown in site.shown))):
        yield _server(*_secure(port, "default_server"), directive("server_name", "_"), *_refusals(421), directive("return", 421))
    yield _main(site)
    yield from (_shown(site, shown) for shown in site.shown)
    if site.status_port:
        status = _location(("=", "/status"), directive("stub_status"))
        yield _server(directive("listen", site.status_port), directive("access_log", "off"), status)


def _plain(*more: str) -> Directive:
    return directive("listen", "${listen}:${port:edge.redirect}", *more)


def _secure(port: str, *more: str) -> tuple[Directive, ...]:
    return directive("listen", f"${{listen}}:${{port:edge.{port}}}", "ssl", *more), directive("http2", "on")


def _port(shown: Shown) -> str:
    return "https" if shown.name else shown.service


def _server(*body: Directive) -> Directive:
    return block("server", body=body)


def _location(match: tuple[str, ...] | str, *body: Directive) -> Directive:
    return block("location", *((match,) if isinstance(match, str) else match), body=body)


def _always() -> Iterator[Directive]:
    """Over HTTP, under whatever name: whether this program is well, and what a certificate authority asks for."""
    yield directive("access_log", "off")
    yield from _refusals(421)
    yield _location(("=", "/edge/health"), directive("default_type", "text/plain"), directive("return", 200, "ok"))
    challenges = [directive("root", "${data:edge}/challenges"), directive("default_type", "text/plain")]
    yield _location(("^~", "/.well-known/acme-challenge/"), *challenges)


def _main(site: Site) -> Directive:
    routes = [route for route in ROUTES if site.gateway or route.goal != "gateway"]
    return _server(
        *_secure("https"),
        directive("server_name", *site.names),
        directive("client_max_body_size", site.body_bytes),
        *_limited(site),
        *_answered(site),
        *_told(site, site.port, _PASSWORDS if site.basic else ()),
        *(_basic() if site.basic else ()),
        *_refusals(),
        *([_check(site, _CHECK, "")] if site.gateway and site.gateway_takes_our_keys else []),
        *(_route(site, route) for route in routes),
    )


#: One page of Open WebUI loads 177 scripts at once; two people behind one address may open it.
PAGE_REQUESTS = 600


def _shown(site: Site, shown: Shown) -> Directive:
    """A service under a name or port of its own. Where it has no login, a key with the scope "admin" is the password."""
    locked = () if shown.own_login else (directive("auth_request", _CHECK_ADMIN),)
    foreign = () if shown.own_login else (block("if", "($foreign)", body=[directive("return", 403)]),)
    return _server(
        *_secure(_port(shown)),
        directive("server_name", *((shown.name,) if shown.name else site.names)),
        directive("client_max_body_size", site.upload_bytes),
        *_limited(site, PAGE_REQUESTS),
        *_answered(site),
        *_told(site, site.port if shown.name else shown.port, () if shown.own_login else (*_PASSWORDS, "x-api-key")),
        *_refusals(),
        *(() if shown.own_login else (_check(site, _CHECK_ADMIN, "?need=admin"),)),
        _location("/", *foreign, *locked, directive("proxy_pass", f"http://{shown.service}")),
    )


def _limited(site: Site, at_once: int = 0) -> Iterator[Directive]:
    yield directive("limit_req", "zone=address", f"burst={max(at_once, site.requests_at_once)}", "nodelay")
    yield directive("limit_req", "zone=credential", f"burst={max(at_once, site.key_requests_at_once)}", "nodelay")
    yield directive("limit_conn", "open", site.connections)


def _answered(site: Site) -> Iterator[Directive]:
    """Headers of every answer. One of them in a location would drop all of these there, so there is none."""
    for name in variables.DEFAULT_HEADERS:
        yield directive("add_header", name, variables.default_header(name), "always")
    if site.hsts_seconds:
        yield directive("add_header", "Strict-Transport-Security", f"max-age={site.hsts_seconds}", "always")


def _basic() -> Iterator[Directive]:
    yield directive("auth_basic", "Freehold")
    yield directive("auth_basic_user_file", "${data:edge}/users")


def _route(site: Site, route: Route) -> Directive:
    body: list[Directive] = []
    if route.goal == "closed":
        return _location(route.match, directive("return", 404))
    if route.methods:
        allowed = "|".join(route.methods)
        body.append(block("if", "($request_method", "!~", f"^(?:{allowed})$)", body=[directive("return", 405)]))
    if site.basic and (route.public or route.goal == "gateway"):
        body.append(directive("auth_basic", "off"))
    if route.goal == "gateway":
        keys = _told(site, site.port) if site.basic else ()
        locked = [directive("auth_request", _CHECK)] if site.gateway_takes_our_keys else []
        body += [*locked, directive("rewrite", "^/models(/.*)$", "$1", "break"), *keys]
    # With a path of its own nothing but that path is asked for, however the client wrote it.
    path = route.match[1] if route.match[0] == "=" else ""
    return _location(route.match, *body, directive("proxy_pass", f"http://{route.goal}{path}"))


def _check(site: Site, name: str, query: str) -> Directive:
    """Asks the server who this is: the same headers, no body."""
    return _location(
        ("=", name),
        directive("internal"),
        *((directive("auth_basic", "off"),) if site.basic else ()),
        directive("proxy_pass", f"http://server/auth/check{query}"),
        directive("proxy_pass_request_body", "off"),
        *_told(site, site.port, ("Content-Length", "Upgrade", "Connection")),
    )


def _told(site: Site, port: int, strip: Iterable[str] = ()) -> Iterator[Directive]:
    """What the service behind is told of the client: set anew, whatever the client wrote there. A block that sets one header
    inherits none of those around it, so each that does has them all."""
    written = "$host" if port == 443 else f"$host:{port}"
    headers = {
        "Host": written,
        "X-Forwarded-For": "$remote_addr",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": written,
        "X-Real-IP": "$remote_addr",
        "Forwarded": "",
        "X-Request-Id": "$known_request_id",
        "traceparent": "$known_traceparent",
        "tracestate": "$known_tracestate",
        "Upgrade": "$known_upgrade",
        "Connection": "$known_connection",
        "Proxy": "",
        **dict.fromkeys(strip, ""),
    }
    yield from (directive("proxy_set_header", name, value) for name, value in headers.items())
    yield directive("proxy_read_timeout", f"{site.stream_seconds}s")


def _refusals(*statuses: int) -> Iterator[Directive]:
    """Errors that are nginx's own, as the server writes its errors."""
    for status in statuses or _REFUSALS:
        code, message = _REFUSALS[status]
        body = json.dumps({"detail": message, "code": code})
        headers = [directive("add_header", "Retry-After", 1, "always")] if status in (429, 502, 503) else []
        if headers:
            headers += [directive("add_header", "X-Content-Type-Options", "nosniff", "always")]
        yield directive("error_page", status, f"@{status}")
        yield _location(f"@{status}", *headers, directive("default_type", "application/json"), directive("return", status, body))
