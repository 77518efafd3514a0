"""PgBouncer: many servers and workers share few connections to the database, each for as long as a transaction lasts.

Nothing of ours keeps a session (no LISTEN, no session lock), so servers and workers go through it whole. What needs one goes to Postgres
directly: the migration, and services with a database of their own.
"""

from __future__ import annotations

from collections.abc import Iterable

from freehold.stack.deployment import Deployment
from freehold.stack.environment import DATABASE
from freehold.stack.service import File, Health, Limits, Port, Service

#: Roles that go through it. Each has as many connections as `pooler.connections` at most; the reader's own limit is 10.
ROLES = ("app", "reader")
READER_CONNECTIONS = 10
#: Statements that a connection to the server keeps prepared. More than our queries; psycopg's own limit for each client is 100.
PREPARED_STATEMENTS = 500


def services(deployment: Deployment, others: tuple[Service, ...]) -> Iterable[Service]:
    settings = deployment.settings.pooler
    native = deployment.settings.stack.target == "native"
    yield Service(
        name="pooler",
        program="pgbouncer",
        args=("${files}/pgbouncer.ini",),
        files=(File("pgbouncer.ini", _configuration(deployment)), File("users.txt", _users())),
        ports=() if native else (Port(settings.port, "", "pooler.port"),),
        health=Health("postgres", f"${{sockets:pooler}}/.s.PGSQL.{settings.port}" if native else "${address:pooler}"),
        # Not after the migration, which needs none of it: both start as soon as Postgres is there.
        needs=("postgres",),
        stop_signal="SIGINT",  # SIGTERM would wait for clients to leave
        grace_seconds=10,
        networks=("data",),
        limits=Limits(256 * 1024**2),
        about="PgBouncer",
    )


def _configuration(deployment: Deployment) -> str:
    settings = deployment.settings.pooler
    native = deployment.settings.stack.target == "native"
    where = (
        {"listen_addr": "", "unix_socket_dir": "${sockets:pooler}", "unix_socket_mode": "0700"}
        if native
        else {"listen_addr": "${listen}", "unix_socket_dir": ""}
    )
    options = {
        **where,
        "listen_port": settings.port,
        "auth_type": "scram-sha-256",
        "auth_file": "${files}/users.txt",
        "pool_mode": "transaction",
        "max_prepared_statements": PREPARED_STATEMENTS,
        "default_pool_size": settings.connections,
        "max_client_conn": settings.clients,
        # A process that is stopped within a transaction holds its locks no longer than this.
        "idle_transaction_timeout": 10,
        "server_round_robin": 0,
        "server_tls_sslmode": "disable",  # a socket, or a network of our own
        "client_tls_sslmode": "disable",
        "log_connections": 0,
        "log_disconnections": 0,
        "stats_period": 600,
    }
    lines = "\n".join(f"{name} = {value}".rstrip() for name, value in options.items())
    return (
        f"[databases]\n{DATABASE} = host=${{host:postgres}} port=5432\n\n"
        f"[users]\nfreehold_reader = max_user_connections={READER_CONNECTIONS}\n\n"
        f"[pgbouncer]\n{lines}\n"
    )


def _users() -> str:
    """Passwords as they are: PgBouncer has to answer the server's own question for them."""
    return "".join(f'"freehold_{role}" "${{secret:postgres_{role}}}"\n' for role in ROLES)
