"""Starts Phoenix so that it listens where it is told and nowhere else: `start.py ADDRESS METRICS_PORT HOST...`

ADDRESS: where its metrics are shown, beside PHOENIX_HOST for everything else. HOST: names by which it may be called; "*" for any.
Whatever of Phoenix is not found here as it was in the version of the lock ends the start.
"""

import sys

import prometheus_client
from starlette.middleware.trustedhost import TrustedHostMiddleware

from phoenix.server import grpc_server, prometheus
from phoenix.server.cli.commands import serve
from phoenix.server.main import main

address, metrics_port, *hosts = sys.argv[1:]


async def nothing(*_: object) -> None:
    """gRPC would listen on all addresses; traces come over HTTP."""


assert prometheus.start_http_server is prometheus_client.start_http_server
assert {"__aenter__", "__aexit__"} <= vars(grpc_server.GrpcServer).keys()
grpc_server.GrpcServer.__aenter__ = nothing
grpc_server.GrpcServer.__aexit__ = nothing
prometheus.start_http_server = lambda *_, **__: prometheus_client.start_http_server(int(metrics_port), addr=address)
config = serve.Config
serve.Config = lambda app, **options: config(TrustedHostMiddleware(app, allowed_hosts=hosts), **options)

sys.argv = ["phoenix", "serve"]
main()
