"""Writes nginx.conf for a site: a small function for each block, outermost last.

Paths are relative to the prefix folder (`-p`). The certificate is named by a variable, so workers read it anew: a renewed one is
in use within a minute, and nothing has to be told. `$name` is nginx's, `${name}` a placeholder that the target fills.
"""

from __future__ import annotations

from collections.abc import Iterator

from freehold.stack.edge import variables
from freehold.stack.edge.servers import servers
from freehold.stack.edge.site import Site
from freehold.stack.edge.syntax import Directive, block, directive, written

#: Seconds for the headers of a request, between two parts of its body, and between two parts of an answer that a client reads.
HEADER_SECONDS, BODY_SECONDS, SEND_SECONDS = 10, 20, 60

#: Bytes of the whole request line, or of one header: tokens of identity providers are long.
LONGEST_HEADER = 16 * 1024


def nginx_conf(site: Site) -> str:
    """The whole file."""
    return written(_main(site))


def _main(site: Site) -> Iterator[Directive]:
    yield directive("daemon", "off")
    yield directive("pid", "nginx.pid")
    yield directive("worker_processes", "auto")
    yield directive("worker_rlimit_nofile", 8192)
    yield directive("error_log", "stderr", "notice")
    yield block("events", body=[directive("worker_connections", 4096)])
    yield block("http", body=_http(site))


def _http(site: Site) -> Iterator[Directive]:
    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"):
        yield directive(f"{kind}_temp_path", f"{kind}_temp")
    yield directive("default_type", "application/octet-stream")
    yield directive("server_tokens", "off")
    yield directive("gzip", "off")  # streams must not wait for a block to fill, and secrets beside chosen text must not be compressed
    yield directive("port_in_redirect", "off")
    yield directive("absolute_redirect", "off")
    yield directive("map_hash_bucket_size", 256)
    yield directive("server_names_hash_bucket_size", 256)
    yield from _client_limits()
    yield from _real_address(site)
    yield from variables.taken_over()
    yield from variables.credential_hash()
    yield from variables.answer_headers()
    yield from variables.foreign_pages()
    yield from variables.access_log()
    yield from _rates(site)
    yield from _tls()
    yield from _upstreams(site)
    yield from _proxy()
    yield from servers(site)


def _client_limits() -> Iterator[Directive]:
    yield directive("client_header_timeout", f"{HEADER_SECONDS}s")
    yield directive("client_body_timeout", f"{BODY_SECONDS}s")
    yield directive("send_timeout", f"{SEND_SECONDS}s")
    yield directive("keepalive_timeout", "65s")
    yield directive("keepalive_requests", 10000)
    yield directive("reset_timedout_connection", "on")
    yield directive("large_client_header_buffers", 4, LONGEST_HEADER)
    yield directive("ignore_invalid_headers", "on")
    yield directive("underscores_in_headers", "off")
    yield directive("http2_max_concurrent_streams", 64)


def _real_address(site: Site) -> Iterator[Directive]:
    if site.trusted_proxies:
        yield from (directive("set_real_ip_from", network) for network in site.trusted_proxies)
        yield directive("real_ip_header", "X-Forwarded-For")
        yield directive("real_ip_recursive", "on")


def _rates(site: Site) -> Iterator[Directive]:
    yield directive("limit_req_zone", "$binary_remote_addr", "zone=address:10m", f"rate={_rate(site.requests_per_second)}")
    yield directive("limit_req_zone", "$credential_hash", "zone=credential:10m", f"rate={_rate(site.key_requests_per_second)}")
    yield directive("limit_conn_zone", "$binary_remote_addr", "zone=open:10m")
    for kind in ("limit_req", "limit_conn"):
        yield directive(f"{kind}_status", 429)
        yield directive(f"{kind}_log_level", "info")  # a line would quote the request with its query


def _rate(per_second: float) -> str:
    """nginx counts whole requests, a second or a minute."""
    return f"{round(per_second)}r/s" if per_second >= 1 and per_second == round(per_second) else f"{max(1, round(per_second * 60))}r/m"


def _tls() -> Iterator[Directive]:
    yield block("map", "", "$certificate", body=[directive("default", "${data:edge}/certificate.pem")])
    yield directive("ssl_certificate", "$certificate")
    yield directive("ssl_certificate_key", "$certificate")
    yield directive("ssl_certificate_cache", "max=4", "valid=60s")
    yield directive("ssl_protocols", "TLSv1.2", "TLSv1.3")
    yield directive(
        "ssl_ciphers",
        "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
        "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305",
    )
    yield directive("ssl_prefer_server_ciphers", "off")
    yield directive("ssl_session_cache", "shared:tls:10m")
    yield directive("ssl_session_timeout", "1d")
    yield directive("ssl_session_tickets", "off")


def _upstreams(site: Site) -> Iterator[Directive]:
    if site.resolver:
        yield directive("resolver", site.resolver, "valid=5s", "ipv6=off")
    moving = ["resolve"] if site.resolver else []
    for name in ("server", *(["gateway"] if site.gateway else []), *(shown.service for shown in site.shown)):
        server = directive("server", f"${{address:{name}}}", *moving, "max_fails=0")
        yield block("upstream", name, body=[directive("zone", name, "64k"), server, *_kept()])


def _kept() -> Iterator[Directive]:
    """Connections that wait for more requests, closed before the other side closes them (5 s): a request would meet the closing."""
    yield directive("keepalive", 32)
    yield directive("keepalive_timeout", "4s")


def _proxy() -> Iterator[Directive]:
    """What every request that is handed on says about its client: set anew, whatever the client wrote there."""
    yield directive("proxy_http_version", "1.1")
    yield directive("proxy_buffering", "off")  # tokens go out as they come
    yield directive("proxy_request_buffering", "off")
    yield directive("proxy_connect_timeout", "5s")
    yield directive("proxy_send_timeout", "60s")
    yield directive("proxy_next_upstream", "off")  # what was sent once may have been done
    yield directive("proxy_intercept_errors", "off")
    yield directive("proxy_redirect", "off")
