"""nginx before the servers of one model, so that clients see one address: each request goes to the server with the fewest under way.

A request goes on to the next server while nothing of an answer was sent: where the first is away, still loads, or its queue is full.
Streams pass through as they come. Only what clients of the OpenAI API need is let through: engines have more, without a key.
"""

from __future__ import annotations

from freehold.stack.served import Served
from freehold.stack.service import File, Health, Service, Volume
from freehold.stack.services.model_port import model_port

#: A long answer that is not streamed is silent for minutes.
READ_SECONDS = 3600

_CONFIGURATION = """\
daemon off;
worker_processes 1;
error_log stderr warn;
pid nginx.pid;
events { worker_connections 4096; }
http {
  access_log off;
  server_tokens off;
  default_type application/json;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  client_max_body_size 64m;
  client_body_buffer_size 64m;  # a request stays in memory, so that it can be sent to another server
  upstream servers {
    least_conn;
    keepalive 64;
SERVERS
  }
  server {
    listen ${listen}:PORT;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $host;
    proxy_buffering off;
    proxy_connect_timeout 2s;
    proxy_send_timeout 60s;
    proxy_read_timeout READ_SECONDSs;
    proxy_next_upstream error timeout http_503 non_idempotent;
    location /v1/ { proxy_pass http://servers; }
    location = /health { proxy_pass http://servers; }
    location / { return 404 '{"error": {"message": "not found", "type": "invalid_request_error"}}'; }
    error_page 502 504 @none;
    location @none { return 503 '{"error": {"message": "no server of this model answers", "type": "server_error"}}'; }
  }
}
"""


def service(model: Served) -> Service:
    servers = "\n".join(f"    server ${{address:{server.service}}} max_fails=3 fail_timeout=5s;" for server in model.servers)
    text = _CONFIGURATION.replace("SERVERS", servers).replace("PORT", str(model.port)).replace("READ_SECONDS", str(READ_SECONDS))
    return Service(
        name=model.service,
        program="nginx",
        args=("-p", f"${{data:{model.service}}}", "-e", "stderr", "-c", "${files}/nginx.conf"),
        files=(File("nginx.conf", text),),
        ports=(model_port(model),),
        health=Health("http", f"http://${{address:{model.service}}}/health"),
        needs=tuple(server.service for server in model.servers),
        volumes=(Volume(model.service, "nothing; it writes its process id there"),),
        networks=("models",),
        about=f"balancer of {len(model.servers)} servers of {model.engine.model}",
    )
