"""PostgreSQL with pgvector: everything that survives. On one machine on a Unix socket only, so no other user and no web page reaches it."""

from __future__ import annotations

from freehold.config.settings import Settings
from freehold.stack.service import Health, Port, Service, Volume

#: Connections beside the pools: supervisor and CLI, lease renewal, `query_database`, LISTEN, superuser reserve.
SPARE_CONNECTIONS = 30


def service(settings: Settings) -> Service:
    pools = settings.database.pool_size * (1 + settings.worker.count)
    options = {
        "listen_addresses": "${listen}",
        "unix_socket_directories": "${sockets:postgres}",
        "unix_socket_permissions": "0700",
        "hba_file": "${data:postgres}.access/pg_hba.conf",
        "ident_file": "${data:postgres}.access/pg_ident.conf",
        "max_connections": str(pools + SPARE_CONNECTIONS),
        "shared_buffers": "128MB",
        "log_line_prefix": "%m [%p] %q%u@%d ",
    }
    return Service(
        name="postgres",
        program="postgres",
        args=("-D", "${data:postgres}", *(part for name, value in options.items() for part in ("-c", f"{name}={value}"))),
        volumes=(Volume("postgres", "threads, runs, documents, everything that survives"),),
        ports=() if settings.stack.target == "native" else (Port(5432, "", "database.url"),),
        health=Health("postgres", "${sockets:postgres}"),
        networks=("data",),
        stop_signal="SIGINT",  # "fast": disconnect clients, write a checkpoint, end; SIGTERM would wait for clients to leave
        grace_seconds=60,
        about="PostgreSQL with pgvector",
    )
