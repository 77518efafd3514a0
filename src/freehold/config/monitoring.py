"""The sections under `[monitoring]`: how long metrics are kept, on which ports, and who hears of alerts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator

from freehold.config.section import Port, PositiveInt, Section, http_url


class MonitoringPortsSection(Section):
    prometheus: Port = 9090
    """Prometheus."""
    alertmanager: Port = 9093
    """Alertmanager."""
    grafana: Port = 3000
    """Grafana, in containers."""
    node: Port = 9100
    """Measures of the machine."""
    postgres: Port = 9187
    """Measures of PostgreSQL."""
    valkey: Port = 9121
    """Measures of Valkey; those of a second one are on the next port."""
    nginx: Port = 9113
    """Measures of the edge."""
    gpu: Port = 9400
    """Measures of the GPUs."""


class NotifySection(Section):
    webhook_url: str | None = None
    """Alertmanager posts every alert here as JSON. No secrets in it: those go into webhook_token."""
    webhook_token: SecretStr | None = None
    """Sent to it as a bearer token."""
    slack_url: SecretStr | None = None
    """Incoming webhook of Slack."""
    slack_channel: str | None = None
    """Channel, where it is not the one the webhook was made for."""
    email_to: tuple[str, ...] = ()
    """Who gets alerts by e-mail."""
    email_from: str | None = None
    """Sender of the e-mails."""
    smtp_address: Annotated[str, Field(pattern=r"^[^\s:]+:\d+$")] | None = None
    """Mail server and port; the connection is encrypted with STARTTLS, or from the start on port 465."""
    smtp_user: str | None = None
    """User at the mail server."""
    smtp_password: SecretStr | None = None
    """Password at the mail server."""
    heartbeat_url: str | None = None
    """Called every five minutes as long as alerts work at all: a service outside that misses it can tell you that this machine is down."""
    runbooks: str = "docs/runbooks/alerts.md"
    """Where alerts point to for what to do; a URL if you publish the page."""

    @field_validator("webhook_url")
    @classmethod
    def _webhook_url_is_http(cls, url: str | None) -> str | None:
        return http_url(url, "https://alerts.example.com/freehold")

    @field_validator("heartbeat_url")
    @classmethod
    def _heartbeat_url_is_http(cls, url: str | None) -> str | None:
        return http_url(url, "https://heartbeat.example.com/freehold")


class MonitoringSection(Section):
    scrape_seconds: PositiveInt = 15
    """How often everything is measured."""
    retention_days: PositiveInt = 15
    """Measures are kept this long."""
    retention_gb: PositiveInt = 10
    """Measures take up no more disk than this; older ones go first."""
    gpus: Literal["auto", "on", "off"] = "auto"
    """Measure the GPUs. "auto": in containers, where there are some. "on" without containers: needs NVIDIA's dcgm-exporter on PATH."""
    published: bool = False
    """In containers: Prometheus, Alertmanager and Grafana are reached on 127.0.0.1 of the machine. Without containers they always are."""
    ports: MonitoringPortsSection = MonitoringPortsSection()
    """Ports."""
    notify: NotifySection = NotifySection()
    """Who hears of alerts."""
