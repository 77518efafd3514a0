"""Postgres and Valkey: away, full, or close to it."""

from __future__ import annotations

from collections.abc import Iterable

from freehold.stack.monitoring.alert import Alert


def alerts() -> Iterable[Alert]:
    yield Alert(
        "PostgresDown",
        "pg_up == 0",
        "1m",
        "critical",
        "PostgreSQL does not answer",
        means="Everything that survives is in PostgreSQL: nothing is accepted and nothing executed until it answers.",
        look="`freehold status`, `freehold logs postgres`; free space of its disk.",
        do="It is started again by itself and recovers from its log; nothing that was accepted is lost. A full disk: make room first.",
    )
    yield Alert(
        "DatabaseUnreachable",
        # The server measures these in the database; not a number means that it could not.
        "absent(pg_up == 0) and on () (max(freehold_queue_depth) != max(freehold_queue_depth))",
        "2m",
        "critical",
        "The agent server cannot reach its database",
        means="PostgreSQL answers the exporter, but not the agent server within a second: no connection is free, or the "
        "network between them is broken.",
        look="`freehold logs server`; the dashboard Data stores: connections.",
        do="Connections used up: see PostgresConnections. Else check DATABASE_URL, PgBouncer and the network between them.",
        explained_by=("PostgresDown", "PostgresConnections"),
    )
    yield Alert(
        "PostgresConnections",
        "sum(pg_stat_activity_count) / max(pg_settings_max_connections) > 0.9",
        "2m",
        "warning",
        "{{ humanizePercentage $value }} of the connections to PostgreSQL are in use",
        means="When all are, new ones are refused, and with them runs and requests.",
        look="`SELECT application_name, state, count(*) FROM pg_stat_activity GROUP BY 1, 2`: who holds them?",
        do='Smaller pools (`database.pool_size`), or PgBouncer in front (`stack.services` with "pooler").',
    )
    yield Alert(
        "PostgresTransactionHangs",
        'max by (datname) (pg_stat_activity_max_tx_duration{state=~"idle in transaction.*"}) > 300',
        "1m",
        "warning",
        "A transaction in {{ $labels.datname }} has been idle for {{ humanizeDuration $value }}",
        means="A client began a transaction and went away: its locks stay, and old row versions cannot be removed.",
        look="`SELECT pid, application_name, xact_start, query FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'`.",
        do="`SELECT pg_terminate_backend(PID)`; then repair the program that left it. Ours end such transactions after ten seconds.",
    )
    yield Alert(
        "PostgresDeadlocks",
        "increase(pg_stat_database_deadlocks[15m]) > 3",
        "",
        "warning",
        "Deadlocks in {{ $labels.datname }}",
        means="Transactions block each other, and PostgreSQL ends one of each pair. Ours are tried again.",
        look="`freehold logs postgres` has both statements of each.",
        do="If statements of your own tools are in it: lock rows in one order. Else report it with those lines.",
    )
    yield Alert(
        "ValkeyDown",
        "redis_up == 0",
        "1m",
        "critical",
        "Valkey does not answer",
        means="Runs go on, but nobody sees them stream, and new ones start up to a second late.",
        look="`freehold status`, `freehold logs valkey`.",
        do="It is started again by itself and reads its log; at most the last second of events is lost, and clients are told of the gap.",
    )
    yield Alert(
        "ValkeyMemory",
        "redis_memory_used_bytes / (redis_memory_max_bytes > 0) > 0.9",
        "5m",
        "warning",
        "Valkey uses {{ humanizePercentage $value }} of the memory it may have",
        means="When it is full it refuses what is written, so events of runs wait in the workers.",
        look="`redis_db_keys`, the dashboard Data stores: memory, streams.",
        do="Fewer or shorter streams at once; more memory for the machine, of which Valkey takes a share.",
    )
    yield Alert(
        "ValkeyNotPersisted",
        "redis_aof_last_write_status == 0 or redis_aof_last_bgrewrite_status == 0",
        "5m",
        "warning",
        "Valkey cannot write its log",
        means="What is in it would be lost with the process; most often its disk is full.",
        look="`freehold logs valkey`; free space.",
        do="Make room. It goes on by itself.",
        explained_by=("DiskFull",),
    )
