"""The option "monitoring": Prometheus, Alertmanager, exporters, and in containers Grafana."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from freehold.stack.deployment import Deployment
from freehold.stack.monitoring import alerts, notifying, recording, scraping
from freehold.stack.monitoring.alert import Watched, rules_file
from freehold.stack.service import File, Health, Limits, Metrics, Port, Service, Volume
from freehold.stack.services import exporters, grafana

_MIB = 1024**2

#: Programs that serve models.
_ENGINES = frozenset({"vllm", "llama-server", "sglang", "ollama"})
#: Those that do not say in their metrics which model they serve.
_NAMELESS = frozenset({"llama-server"})


def services(deployment: Deployment, others: tuple[Service, ...]) -> Iterable[Service]:
    """Everything that shows metrics is measured, these services included."""
    exporting = tuple(exporters.services(deployment, others))
    itself = (_prometheus(deployment), _alertmanager(deployment))
    pages = () if deployment.settings.stack.target == "native" else (grafana.service(deployment),)
    measured = scraping.measured((*others, *exporting, *itself, *pages))
    watched = _watched(deployment, measured)
    yield from exporting
    yield _with_files(itself[0], _prometheus_files(deployment, measured, watched))
    yield from pages
    yield _with_files(
        itself[1], {"alertmanager.yml": notifying.alertmanager_file(deployment.settings.monitoring.notify, alerts.alerts(watched))}
    )


def _watched(deployment: Deployment, measured: Iterable[Service]) -> Watched:
    worker = deployment.settings.worker
    return Watched(
        jobs=tuple(service.name for service in measured),
        models=tuple(service.name for service in measured if service.program in _ENGINES),
        workers=worker.count,
        slots=worker.count * worker.concurrency,
    )


def _prometheus_files(deployment: Deployment, measured: tuple[Service, ...], watched: Watched) -> Mapping[str, str]:
    settings = deployment.settings
    names = {server.service: model.engine.model for model in deployment.served for server in model.servers}
    nameless = {service.name: names[service.name] for service in measured if service.program in _NAMELESS}
    slots = {
        model.engine.model: model.wanted.parallel * len(model.servers)
        for model in deployment.served
        if model.engine.model in nameless.values()
    }
    rules = {
        "recording.yml": recording.rules_file(slots),
        "alerts.yml": rules_file(alerts.groups(watched), runbooks=settings.monitoring.notify.runbooks),
    }
    return {"prometheus.yml": scraping.prometheus_file(settings, measured, nameless, rule_files=rules), **rules}


def _with_files(service: Service, texts: Mapping[str, str]) -> Service:
    return replace(service, files=tuple(File(name, text) for name, text in texts.items()))


def _prometheus(deployment: Deployment) -> Service:
    wanted = deployment.settings.monitoring
    return Service(
        name="prometheus",
        program="prometheus",
        args=(
            "--config.file=${files}/prometheus.yml",
            "--storage.tsdb.path=${data:prometheus}",
            f"--storage.tsdb.retention.time={wanted.retention_days}d",
            f"--storage.tsdb.retention.size={wanted.retention_gb}GB",
            f"--web.listen-address=${{listen}}:{wanted.ports.prometheus}",
            # By default every web page in a browser on this machine may read what it answers.
            "--web.cors.origin=https?://localhost",
        ),
        ports=(Port(wanted.ports.prometheus, "127.0.0.1", "monitoring.ports.prometheus", published=wanted.published),),
        volumes=(Volume("prometheus", "what was measured"),),
        health=Health("http", "http://${address:prometheus}/-/ready", start_seconds=300),
        grace_seconds=30,
        metrics=Metrics(),
        networks=("observe",),
        limits=Limits(2048 * _MIB),
        about="Prometheus",
    )


def _alertmanager(deployment: Deployment) -> Service:
    wanted = deployment.settings.monitoring
    return Service(
        name="alertmanager",
        program="alertmanager",
        args=(
            "--config.file=${files}/alertmanager.yml",
            "--storage.path=${data:alertmanager}",
            f"--web.listen-address=${{listen}}:{wanted.ports.alertmanager}",
            "--cluster.listen-address=",  # one alone; else it opens a port for others
        ),
        ports=(Port(wanted.ports.alertmanager, "127.0.0.1", "monitoring.ports.alertmanager", published=wanted.published),),
        volumes=(Volume("alertmanager", "silences, and which alerts were told to whom"),),
        health=Health("http", "http://${address:alertmanager}/-/ready"),
        grace_seconds=10,
        metrics=Metrics(),
        networks=("observe", "out"),
        limits=Limits(256 * _MIB),
        about="Alertmanager",
    )
