"""The machine: disk, memory, processors, clock; and its door, the edge."""

from __future__ import annotations

from collections.abc import Iterable

from freehold.stack.monitoring.alert import Alert

#: File systems that hold nothing of ours.
_REAL = 'fstype!~"tmpfs|ramfs|squashfs|overlay|iso9660|fuse.*"'
_FREE = f"node_filesystem_avail_bytes{{{_REAL}}} / (node_filesystem_size_bytes{{{_REAL}}} > 0)"


def alerts() -> Iterable[Alert]:
    yield Alert(
        "DiskFilling",
        f"({_FREE} < 0.4) and predict_linear(node_filesystem_avail_bytes{{{_REAL}}}[6h], 24 * 3600) < 0",
        "30m",
        "warning",
        "{{ $labels.mountpoint }} will be full within a day",
        means="At the pace of the last six hours nothing will be free in 24 hours. PostgreSQL stops when its disk is full.",
        look="`du -xh --max-depth=2 MOUNTPOINT | sort -h | tail`; the dashboard Data stores.",
        do="`freehold prune`, delete old models (`freehold models list`) and backups, or a larger disk.",
        explained_by=("DiskFull",),
        of_the_same=("mountpoint",),
    )
    yield Alert(
        "DiskFull",
        f"{_FREE} < 0.05",
        "2m",
        "critical",
        "{{ $labels.mountpoint }} has {{ humanizePercentage $value }} left",
        means="Less than 5 % of a file system is free. PostgreSQL and Valkey stop writing when it is full.",
        look="`df -h`, `du -xh --max-depth=2 MOUNTPOINT | sort -h | tail`.",
        do="Make room now: logs, models that are not used, old backups; then `freehold prune`.",
    )
    yield Alert(
        "MemoryFull",
        "node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes < 0.05",
        "5m",
        "critical",
        "Only {{ humanizePercentage $value }} of the memory is available",
        means="The kernel is about to kill what uses most memory: a model server, or PostgreSQL.",
        look="`freehold status` shows the memory of each service.",
        do="A smaller model or context, fewer workers, fewer optional services; `dmesg` says what was killed already.",
    )
    yield Alert(
        "ProcessorsBusy",
        "freehold:cpu_usage:rate1m > 0.95",
        "30m",
        "warning",
        "The processors have been at {{ humanizePercentage $value }} for half an hour",
        means="Everything on this machine is slow. With a model on the CPU that is normal while it works.",
        look="`top`; the dashboard Overview.",
        do="Fewer threads for the model (`model.threads`), fewer workers, or a second machine for the model.",
    )
    yield Alert(
        "ClockWrong",
        "abs(node_timex_offset_seconds) > 0.5 and on (instance) node_timex_sync_status == 1 or node_timex_maxerror_seconds > 16 "
        "and on (instance) node_timex_sync_status == 1",
        "10m",
        "warning",
        "The clock is {{ $value }} s off",
        means="Tokens of an identity provider and certificates are judged by the clock.",
        look="`timedatectl`, `chronyc tracking`.",
        do="Start the time service (chrony or systemd-timesyncd).",
    )
    yield Alert(
        "EdgeDown",
        "nginx_up == 0",
        "1m",
        "critical",
        "The edge does not answer",
        means="Nobody outside reaches anything.",
        look="`freehold status`, `freehold logs edge`.",
        do="It is started again by itself. If it does not start: its log names the line of its configuration or the certificate.",
    )
    yield Alert(
        "CertificateExpires",
        "freehold_certificate_expiry_timestamp_seconds - time() < 14 * 86400",
        "1h",
        "critical",
        "The certificate of the edge ends in {{ humanizeDuration $value }}",
        means="After that browsers and clients refuse to connect. A certificate that is renewed by itself should have been by now.",
        look="`freehold logs edge`; the log of the renewal.",
        do="Renew it by hand; for one of your own, put the new one in its place and restart the edge.",
    )
    yield Alert(
        "BackupOld",
        "time() - freehold_backup_timestamp_seconds > 2 * 86400",
        "1h",
        "warning",
        "The last backup is {{ humanizeDuration $value }} old",
        means="Backups were made and are not any more.",
        look="The log of the timer that runs `freehold backup`; free space where they go.",
        do="`freehold backup` by hand, and see what it says.",
    )
