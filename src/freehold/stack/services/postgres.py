"""PostgreSQL with pgvector: everything that survives. On one machine on a Unix socket only, so no other user and no web page reaches it."""

from __future__ import annotations

from dataclasses import dataclass

from freehold.core.machine import GIB
from freehold.stack.deployment import Deployment
from freehold.stack.service import File, Health, Limits, Port, Service, Volume

#: Connections beside the pools: supervisor and CLI, lease renewal, `query_database`, LISTEN, superuser reserve.
SPARE_CONNECTIONS = 30
#: Of each optional part that may have a database of its own.
CONNECTIONS_OF_A_PART = 20

_MIB = 1024**2
#: Of the machine's memory: models, agents and the page cache want the rest.
SHARE = 1 / 8
SMALLEST, LARGEST = 512 * _MIB, 64 * GIB

#: Inside containers nobody is trusted for where they come from: every connection proves its password.
_ACCESS = "local all all scram-sha-256\nhost all all all scram-sha-256\n"


@dataclass(frozen=True)
class Tuning:
    """Memory that Postgres is told to use, in bytes. The shares are those its manual suggests for a server of its own."""

    budget: int
    connections: int

    @property
    def shared_buffers(self) -> int:
        return self.budget // 4

    @property
    def effective_cache_size(self) -> int:
        return self.budget * 3 // 4

    @property
    def maintenance_work_mem(self) -> int:
        """An index on vectors is built several times faster where its graph fits in here."""
        return _between(self.budget // 8, 64 * _MIB, 2 * GIB)

    @property
    def work_mem(self) -> int:
        """What is left, if a third of the connections sort and hash at the same time."""
        return _between((self.budget - self.shared_buffers) * 3 // max(1, self.connections) // 4, 4 * _MIB, 64 * _MIB)

    def options(self) -> dict[str, str]:
        names = ("shared_buffers", "effective_cache_size", "maintenance_work_mem", "work_mem")
        return {name: f"{getattr(self, name) // _MIB}MB" for name in names}


def service(deployment: Deployment) -> Service:
    settings = deployment.settings
    native = settings.stack.target == "native"
    pools = settings.database.pool_size * (1 + settings.worker.count)
    connections = pools + SPARE_CONNECTIONS + CONNECTIONS_OF_A_PART * len(settings.stack.services)
    tuning = Tuning(_between(int(deployment.machine.memory_bytes * SHARE), SMALLEST, LARGEST), connections)
    options = {
        "listen_addresses": "${listen}",
        "unix_socket_directories": "${sockets:postgres}",
        "unix_socket_permissions": "0700",
        "hba_file": "${data:postgres}.access/pg_hba.conf" if native else "${files}/pg_hba.conf",
        **({"ident_file": "${data:postgres}.access/pg_ident.conf"} if native else {}),
        "max_connections": str(connections),
        **tuning.options(),
        "log_line_prefix": "%m [%p] %q%u@%d ",
    }
    return Service(
        name="postgres",
        program="postgres",
        args=("-D", "${data:postgres}", *(part for name, value in options.items() for part in ("-c", f"{name}={value}"))),
        volumes=(Volume("postgres", "threads, runs, documents, everything that survives"),),
        ports=() if native else (Port(5432, "", "database.url"),),
        files=() if native else (File("pg_hba.conf", _ACCESS),),
        health=Health("postgres", "${sockets:postgres}"),
        networks=("data",),
        # Workers of one query, and of the building of one index, share memory beside the buffers.
        limits=Limits(tuning.budget, shared_memory_bytes=tuning.maintenance_work_mem + 256 * _MIB),
        stop_signal="SIGINT",  # "fast": disconnect clients, write a checkpoint, end; SIGTERM would wait for clients to leave
        grace_seconds=60,
        about="PostgreSQL with pgvector",
    )


def _between(value: int, smallest: int, largest: int) -> int:
    return max(smallest, min(value, largest))
