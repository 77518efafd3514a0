"""nginx before the servers of one model, so that clients see one address: each request goes to the server with the fewest under way.

A request goes on to the next server while nothing of an answer was sent: where the first is away, still loads, or its queue is full.
Streams pass through as they come. Only what clients of the OpenAI API need is let through: engines have more, without a key.
"""

from __future__ import annotations

from collections.abc import Iterator

from freehold.stack.edge.syntax import Directive, block, comment, directive, written
from freehold.stack.served import Served
from freehold.stack.service import File, Health, Service, Volume
from freehold.stack.services.model_port import model_port

#: A long answer that is not streamed is silent for minutes.
READ_SECONDS = 3600
#: Requests hold whole conversations, and images in them.
MOST_MEGABYTES = 64

_NOT_FOUND = '{"error": {"message": "not found", "type": "invalid_request_error"}}'
_NONE_ANSWERS = '{"error": {"message": "no server of this model answers", "type": "server_error"}}'


def service(model: Served, *, contained: bool) -> Service:
    """`contained`: each server is in a container, whose address may change."""
    return Service(
        name=model.service,
        program="nginx",
        args=("-p", f"${{data:{model.service}}}", "-e", "stderr", "-c", "${files}/nginx.conf"),
        files=(File("nginx.conf", written(_main(model, contained=contained))),),
        ports=(model_port(model),),
        health=Health("http", f"http://${{address:{model.service}}}/health"),
        needs=tuple(server.service for server in model.servers),
        volumes=(Volume(model.service, "nothing; it writes its process id there"),),
        networks=("models",),
        about=f"balancer of {len(model.servers)} servers of {model.engine.model}",
    )


def _main(model: Served, *, contained: bool) -> Iterator[Directive]:
    yield directive("daemon", "off")
    yield directive("pid", "nginx.pid")
    yield directive("worker_processes", 1)  # it alone knows how many requests each server has
    yield directive("error_log", "stderr", "warn")
    yield block("events", body=[directive("worker_connections", 4096)])
    yield block("http", body=_http(model, contained=contained))


def _http(model: Served, *, contained: bool) -> Iterator[Directive]:
    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"):
        yield directive(f"{kind}_temp_path", f"{kind}_temp")
    yield directive("access_log", "off")
    yield directive("server_tokens", "off")
    yield directive("default_type", "application/json")
    yield comment("A request stays in memory, so that it can be sent to another server.")
    yield directive("client_max_body_size", f"{MOST_MEGABYTES}m")
    yield directive("client_body_buffer_size", f"{MOST_MEGABYTES}m")
    if contained:
        yield directive("resolver", "127.0.0.11", "valid=5s", "ipv6=off")
    yield block("upstream", "servers", body=_upstream(model, contained=contained))
    yield block("server", body=_server(model))


def _upstream(model: Served, *, contained: bool) -> Iterator[Directive]:
    yield directive("zone", "servers", "64k")
    yield directive("least_conn")
    for server in model.servers:
        moving = ["resolve"] if contained else []
        yield directive("server", f"${{address:{server.service}}}", *moving, "max_fails=3", "fail_timeout=5s")
    yield directive("keepalive", 64)


def _server(model: Served) -> Iterator[Directive]:
    yield directive("listen", f"${{listen}}:{model.port}")
    yield directive("proxy_http_version", "1.1")
    yield directive("proxy_set_header", "Connection", "")
    yield directive("proxy_set_header", "Host", "$host")
    yield directive("proxy_buffering", "off")
    yield directive("proxy_connect_timeout", "2s")
    yield directive("proxy_send_timeout", "60s")
    yield directive("proxy_read_timeout", f"{READ_SECONDS}s")
    yield directive("proxy_next_upstream", "error", "timeout", "http_503", "non_idempotent")
    yield block("location", "/v1/", body=[directive("proxy_pass", "http://servers")])
    yield block("location", "=", "/health", body=[directive("proxy_pass", "http://servers")])
    yield block("location", "/", body=[directive("return", 404, _NOT_FOUND)])
    yield directive("error_page", 502, 504, "@none")
    yield block("location", "@none", body=[directive("return", 503, _NONE_ANSWERS)])
