"""Whether measuring itself works: what cannot be measured cannot be alerted on."""

from __future__ import annotations

from collections.abc import Iterable

from freehold.stack.monitoring.alert import Alert, Watched

#: Jobs of what only measures others.
_INSTRUMENTS = ".*-exporter|prometheus|alertmanager"


def alerts(watched: Watched) -> Iterable[Alert]:
    yield Alert(
        "Watchdog",
        "vector(1)",
        "",
        "none",
        "Alerts work",
        means="It always fires: as long as it reaches the receiver of heartbeats, Prometheus and Alertmanager work.",
        look="In Alertmanager's list, where it must be. Where `monitoring.notify.heartbeat_url` is set, the service there tells "
        "you that it is missing.",
        do="Nothing while it fires. When it is missing: `freehold status`, then `freehold logs prometheus` and `freehold logs "
        "alertmanager`.",
    )
    yield Alert(
        "TargetDown",
        f'up{{job!~"{_INSTRUMENTS}"}} == 0',
        "1m",
        "critical",
        "{{ $labels.job }} does not answer",
        means="A service does not answer when Prometheus asks for its metrics: it is down, hangs, or refuses the key.",
        look="`freehold status` says its state and why, `freehold logs NAME` its last words; Prometheus' page /targets has the "
        "error of the last try.",
        do="It is started again by itself. If it comes down again: the end of its log names the cause, `freehold doctor` the usual ones.",
    )
    yield Alert(
        "InstrumentDown",
        f'up{{job=~"{_INSTRUMENTS}"}} == 0',
        "5m",
        "warning",
        "{{ $labels.job }} does not answer",
        means="What measures a part of the stack does not answer: that part may be well, but alerts about it are blind.",
        look="`freehold status`, `freehold logs NAME`; Prometheus' page /targets has the error of the last try.",
        do="It is started again by itself; `freehold down` and `freehold up` start everything anew.",
    )
    missing = " or ".join(f'absent(up{{job="{job}"}})' for job in watched.jobs)
    yield Alert(
        "TargetMissing",
        missing or "vector(0) > 0",
        "2m",
        "critical",
        "{{ $labels.job }} is gone",
        means="Prometheus knows no instance of a service that belongs to this stack: in containers, none of its replicas runs.",
        look="`freehold status`, or `docker compose ps`; Prometheus' page /service-discovery.",
        do="Start it: `freehold up`, or `docker compose up -d NAME`.",
    )
    yield Alert(
        "ScrapeSlow",
        "scrape_duration_seconds > 5",
        "10m",
        "warning",
        "{{ $labels.job }} takes {{ humanizeDuration $value }} to be measured",
        means="A service needs more than five seconds to show its metrics; at ten seconds it counts as down.",
        look="Prometheus' page /targets; the load of the machine on the dashboard Overview.",
        do="Find what the machine is short of. Measuring less often (`monitoring.scrape_seconds`) only helps an exporter that "
        "is slow by itself.",
        explained_by=("TargetDown", "InstrumentDown"),
        of_the_same=("job",),
    )
    yield Alert(
        "PrometheusRulesFail",
        "increase(prometheus_rule_evaluation_failures_total[5m]) > 0",
        "5m",
        "warning",
        "Rules of Prometheus fail",
        means="Prometheus could not evaluate some rules, so alerts or panels may be blind.",
        look="Prometheus' page /rules shows the error beside each rule; `freehold logs prometheus`.",
        do='"many-to-many matching": two targets show the same series, look at /targets for one that is listed twice. '
        "Else: report it with the error.",
    )
    yield Alert(
        "PrometheusConfigBroken",
        "prometheus_config_last_reload_successful == 0 or alertmanager_config_last_reload_successful == 0",
        "1m",
        "warning",
        "{{ $labels.job }} goes on with an old configuration",
        means="A changed configuration was not accepted; the one before it is still used.",
        look="`freehold logs prometheus` or `freehold logs alertmanager` name the line.",
        do="`freehold down` and `freehold up` write the files anew. Edited by hand they are overwritten at each start.",
    )
    yield Alert(
        "AlertsNotSent",
        "rate(alertmanager_notifications_failed_total[5m]) > 0 or rate(prometheus_notifications_dropped_total[5m]) > 0",
        "5m",
        "critical",
        "Alerts do not reach anybody",
        means="A receiver refuses messages, or Alertmanager itself cannot be reached.",
        look="`freehold logs alertmanager` has what the receiver answered.",
        do="Check the keys of `[monitoring.notify]`: address, token, password. `freehold down` and `freehold up` apply a change.",
    )
    yield Alert(
        "MetricsDiskFull",
        "increase(prometheus_tsdb_compactions_failed_total[1h]) > 0 or increase(prometheus_tsdb_wal_corruptions_total[1h]) > 0",
        "",
        "warning",
        "Prometheus cannot write its data",
        means="Measures are lost or cannot be compacted; most often the disk is full.",
        look="`freehold logs prometheus`; free space (`df -h`).",
        do="Make room, or keep less: `monitoring.retention_gb`.",
        explained_by=("DiskFull",),
    )
