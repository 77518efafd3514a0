"""Who hears of alerts, and of which not: Alertmanager's configuration."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from freehold.config.monitoring import NotifySection
from freehold.stack.monitoring.alert import Alert
from freehold.stack.monitoring.yaml_text import yaml_text

#: Alert that always fires.
WATCHDOG = "Watchdog"

_NOBODY = "nobody"


def alertmanager_file(notify: NotifySection, alerts: Iterable[Alert]) -> str:
    """The text of alertmanager.yml. Without any receiver alerts are seen in Prometheus, Alertmanager and Grafana."""
    receivers = [_people(notify), {"name": _NOBODY}]
    heartbeat = _NOBODY
    if notify.heartbeat_url:
        heartbeat = "heartbeat"
        receivers.append({"name": heartbeat, "webhook_configs": [{"url": notify.heartbeat_url, "send_resolved": False}]})
    return yaml_text(
        {
            "route": {
                "receiver": "people",
                "group_by": ["alertname", "job"],
                "group_wait": "30s",
                "group_interval": "5m",
                "repeat_interval": "4h",
                "routes": [
                    {
                        "receiver": heartbeat,
                        "matchers": [f'alertname="{WATCHDOG}"'],
                        "group_wait": "0s",
                        "group_interval": "1m",
                        "repeat_interval": "5m",
                    }
                ],
            },
            "receivers": receivers,
            "inhibit_rules": list(_inhibitions(alerts)),
        }
    )


def _people(notify: NotifySection) -> dict[str, Any]:
    """Secrets are read from files, which Alertmanager opens anew for each message."""
    receiver: dict[str, Any] = {"name": "people"}
    if notify.webhook_url:
        token = (
            {"http_config": {"authorization": {"credentials_file": "${secret_file:alert_webhook_token}"}}} if notify.webhook_token else {}
        )
        receiver["webhook_configs"] = [{"url": notify.webhook_url, "send_resolved": True, **token}]
    if notify.slack_url:
        channel = {"channel": notify.slack_channel} if notify.slack_channel else {}
        text = {"title": "{{ .CommonAnnotations.summary }}", "text": _SLACK_TEXT}
        receiver["slack_configs"] = [{"api_url_file": "${secret_file:alert_slack_url}", "send_resolved": True, **channel, **text}]
    if notify.email_to:
        receiver["email_configs"] = [_mail(notify, to) for to in notify.email_to]
    return receiver


_SLACK_TEXT = "{{ range .Alerts }}{{ .Annotations.description }}\n{{ .Annotations.runbook_url }}\n{{ end }}"


def _mail(notify: NotifySection, to: str) -> dict[str, Any]:
    user = {"auth_username": notify.smtp_user, "auth_identity": notify.smtp_user} if notify.smtp_user else {}
    password = {"auth_password_file": "${secret_file:alert_smtp_password}"} if notify.smtp_password else {}
    return {"to": to, "from": notify.email_from, "smarthost": notify.smtp_address, "send_resolved": True, **user, **password}


def _inhibitions(alerts: Iterable[Alert]) -> Iterable[dict[str, Any]]:
    """What is only the consequence of another alert that fires keeps quiet: a rule for each cause."""
    by_cause: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    by_job: dict[str, list[str]] = {}
    for alert in alerts:
        for cause in alert.explained_by:
            by_cause.setdefault((cause, alert.of_the_same), []).append(alert.name)
        for job in alert.needs:
            by_job.setdefault(job, []).append(alert.name)
    for job, names in by_job.items():
        yield {"source_matchers": ['alertname=~"TargetDown|TargetMissing"', f'job="{job}"'], "target_matchers": _any_of(names)}
    for (cause, equal), names in by_cause.items():
        rule = {"source_matchers": [f'alertname="{cause}"'], "target_matchers": _any_of(names)}
        yield {**rule, "equal": list(equal)} if equal else rule


def _any_of(names: list[str]) -> list[str]:
    return [f'alertname=~"{"|".join(names)}"']
