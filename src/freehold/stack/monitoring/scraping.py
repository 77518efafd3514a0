"""What Prometheus measures: one job for each service of the stack that shows metrics, named after it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from freehold.config.settings import Settings
from freehold.stack.monitoring.yaml_text import yaml_text
from freehold.stack.service import Service

#: Longest an exporter may take to answer; less where everything is measured more often than that.
SCRAPE_SECONDS = 10

#: Programs that people scale by hand in containers (`docker compose up --scale worker=3`), so who they are is asked of DNS.
_SCALED = frozenset({"freehold"})


def measured(services: Iterable[Service]) -> tuple[Service, ...]:
    """Those that show metrics."""
    return tuple(service for service in services if service.metrics)


def prometheus_file(settings: Settings, services: Iterable[Service], models: Mapping[str, str], *, rule_files: Iterable[str]) -> str:
    """The text of prometheus.yml.

    Args:
        models: name of the model of each service whose engine does not say it itself, by the service's name.
        rule_files: names of files beside it.
    """
    seconds = settings.monitoring.scrape_seconds
    return yaml_text(
        {
            "global": {
                "scrape_interval": f"{seconds}s",
                "scrape_timeout": f"{min(seconds, SCRAPE_SECONDS)}s",
                "evaluation_interval": f"{seconds}s",
                "external_labels": {"stack": settings.stack.name},
            },
            "rule_files": list(rule_files),
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": ["${address:alertmanager}"]}]}]},
            "scrape_configs": [_job(service, settings, models.get(service.name)) for service in measured(services)],
        }
    )


def _job(service: Service, settings: Settings, model: str | None) -> dict[str, Any]:
    assert service.metrics is not None
    job: dict[str, Any] = {"job_name": service.name}
    if service.metrics.path != "/metrics":
        job["metrics_path"] = service.metrics.path
    if service.metrics.key:
        job["authorization"] = {"credentials_file": f"${{secret_file:{service.metrics.key}}}"}
    labels = {"labels": {"model": model}} if model else {}
    if settings.stack.target == "native" or not (service.program in _SCALED or service.replicas > 1):
        job["static_configs"] = [{"targets": [f"${{address:{service.name}.{service.metrics.port}}}"], **labels}]
    else:
        port = service.port(service.metrics.port).number
        job["dns_sd_configs"] = [{"names": [f"${{host:{service.name}}}"], "type": "A", "port": port, "refresh_interval": "10s"}]
        if model:
            job["relabel_configs"] = [{"target_label": "model", "replacement": model}]
    return job
