"""Postgres, Valkey, the machine under them and the edge in front: what runs out first."""

from __future__ import annotations

from freehold.stack.monitoring.dashboards.panel import Dashboard, Panel, Query, Row, Variable

_ON = '{instance=~"$instance"}'

_SERVICES = (
    Panel(
        "Services",
        "Each service that is measured, and whether it answered the last time: 1 yes, 0 no.",
        (Query("min by (job) (up)", "{{job}}"),),
        "short",
        "bargauge",
        steps=((1, "green"),),
        most=1,
        width=12,
    ),
    Panel(
        "Memory of our own processes",
        "Resident memory of every service that shows it.",
        (Query("sum by (job) (process_resident_memory_bytes)", "{{job}}"),),
        "bytes",
        width=12,
    ),
)

_POSTGRES = (
    Panel(
        "Connections",
        "Open ones, and how many the server allows. At the limit new ones are refused: PgBouncer in front, or smaller pools.",
        (
            Query("sum by (instance) (pg_stat_database_numbackends)", "open"),
            Query("max by (instance) (pg_settings_max_connections)", "allowed"),
        ),
        "short",
    ),
    Panel(
        "Waiting for a connection",
        "Statements of ours that wait, on average, because all connections of their process are in use.",
        (Query("freehold:database_waiting:rate1m", "waiting"),),
        "short",
        steps=((1, "yellow"), (5, "red")),
    ),
    Panel(
        "Transactions",
        "A second; those that were rolled back beside those that were committed.",
        (
            Query("sum by (datname) (rate(pg_stat_database_xact_commit[$__rate_interval])) > 0", "{{datname}} committed"),
            Query("sum(rate(pg_stat_database_xact_rollback[$__rate_interval]))", "rolled back"),
        ),
        "ops",
    ),
    Panel(
        "Read from memory",
        "Share of the pages Postgres needed that it held already. Under 95 % for long: more shared_buffers, or more memory.",
        (
            Query(
                "sum(rate(pg_stat_database_blks_hit[$__rate_interval])) / (sum(rate(pg_stat_database_blks_hit[$__rate_interval]))"
                " + sum(rate(pg_stat_database_blks_read[$__rate_interval])) > 0)",
                "from memory",
            ),
        ),
        "percentunit",
        most=1,
    ),
    Panel(
        "Size",
        "Each database, and the checkpoints in ours. Checkpoints that only grow: `freehold prune`, or a retention in freehold.toml.",
        (
            Query("max by (datname) (pg_database_size_bytes)", "{{datname}}"),
            Query("max(freehold_checkpoint_bytes)", "checkpoints"),
        ),
        "bytes",
    ),
    Panel(
        "Locks and deadlocks",
        "Locks held now, by kind, and deadlocks a second.",
        (
            Query("sum by (mode) (pg_locks_count) > 0", "{{mode}}"),
            Query("sum(rate(pg_stat_database_deadlocks[$__rate_interval]))", "deadlocks"),
        ),
        "short",
    ),
)

_VALKEY = (
    Panel(
        "Memory",
        "In use, and the limit. Streams are never evicted: at the limit what is written is refused, and workers try again.",
        (
            Query("sum by (job) (redis_memory_used_bytes)", "{{job}} in use"),
            Query("sum by (job) (redis_memory_max_bytes) > 0", "{{job}} limit"),
        ),
        "bytes",
    ),
    Panel(
        "Commands",
        "A second.",
        (Query("sum by (job) (rate(redis_commands_processed_total[$__rate_interval]))", "{{job}}"),),
        "ops",
    ),
    Panel(
        "Clients and refusals",
        "Connected clients, those that wait for an answer on purpose (readers of streams), and keys a second thrown out for room.",
        (
            Query("sum by (job) (redis_connected_clients)", "{{job}} connected"),
            Query("sum by (job) (redis_blocked_clients)", "{{job}} waiting"),
            Query("sum by (job) (rate(redis_evicted_keys_total[$__rate_interval]))", "{{job}} evicted"),
        ),
        "short",
    ),
)

_MACHINE = (
    Panel(
        "Processors",
        "Share of their time in which they work.",
        (Query(f"freehold:cpu_usage:rate1m{_ON}", "{{instance}}"),),
        "percentunit",
        most=1,
        steps=((0.9, "red"),),
    ),
    Panel(
        "Memory",
        "Share that is not available any more.",
        (Query(f"freehold:memory_usage{_ON}", "{{instance}}"),),
        "percentunit",
        most=1,
        steps=((0.9, "red"),),
    ),
    Panel(
        "Disk",
        "Share of each file system that is taken.",
        (Query(f"max by (instance, mountpoint) (freehold:disk_usage{_ON})", "{{instance}} {{mountpoint}}"),),
        "percentunit",
        most=1,
        steps=((0.8, "yellow"), (0.9, "red")),
    ),
    Panel(
        "Load",
        "Tasks that run or want to, on average over one minute, beside the number of processors.",
        (
            Query('node_load1{instance=~"$instance"}', "{{instance}} load"),
            Query('count by (instance) (node_cpu_seconds_total{mode="idle",instance=~"$instance"})', "{{instance}} processors"),
        ),
        "short",
    ),
    Panel(
        "Disk work",
        "Bytes a second, read and written.",
        (
            Query('sum by (instance) (rate(node_disk_read_bytes_total{instance=~"$instance"}[$__rate_interval]))', "{{instance}} read"),
            Query(
                'sum by (instance) (rate(node_disk_written_bytes_total{instance=~"$instance"}[$__rate_interval]))', "{{instance}} written"
            ),
        ),
        "Bps",
    ),
    Panel(
        "Network",
        "Bytes a second, in and out, without the loopback.",
        (
            Query(
                'sum by (instance) (rate(node_network_receive_bytes_total{device!="lo",instance=~"$instance"}[$__rate_interval]))',
                "{{instance}} in",
            ),
            Query(
                'sum by (instance) (rate(node_network_transmit_bytes_total{device!="lo",instance=~"$instance"}[$__rate_interval]))',
                "{{instance}} out",
            ),
        ),
        "Bps",
    ),
)

_EDGE = (
    Panel(
        "Requests at the edge",
        "HTTP requests a second that nginx took.",
        (Query("sum(rate(nginx_http_requests_total[$__rate_interval]))", "requests"),),
        "reqps",
        width=12,
    ),
    Panel(
        "Connections at the edge",
        "Open connections: being answered, being read, idle.",
        (
            Query("sum(nginx_connections_writing)", "answered"),
            Query("sum(nginx_connections_reading)", "read"),
            Query("sum(nginx_connections_waiting)", "idle"),
        ),
        "short",
        stacked=True,
        width=12,
    ),
)

DASHBOARD = Dashboard(
    uid="freehold-stores",
    title="Freehold / Data stores",
    about="Postgres, Valkey, the machine and the edge: what is away, and what runs out first.",
    rows=(
        Row("Services", _SERVICES),
        Row("Postgres", _POSTGRES),
        Row("Valkey", _VALKEY),
        Row("Machine", _MACHINE),
        Row("Edge", _EDGE, "edge"),
    ),
    variables=(Variable("instance", "Machine", "node_load1", "instance"),),
)
