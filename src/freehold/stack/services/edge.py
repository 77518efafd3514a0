"""The edge: nginx, the only part that others reach. TLS, names, limits, and a list of the paths that lead anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from freehold.config.edge import Dashboard
from freehold.config.settings import Option, Settings
from freehold.core.errors import ConfigError
from freehold.stack.deployment import Deployment
from freehold.stack.edge import site as sites
from freehold.stack.edge.conf import nginx_conf
from freehold.stack.service import File, Health, Limits, Port, Secret, Service, Volume
from freehold.stack.services.exporters import MEASURES_VOLUME

_VOLUME = Volume("edge", "certificate of the edge, and its account with a certificate authority")


#: Part of the stack that each dashboard comes with. On one machine there is no Grafana: nothing is shown under its name then.
_COMES_WITH: Mapping[Dashboard, Option] = {
    "grafana": "monitoring",
    "prometheus": "monitoring",
    "alertmanager": "monitoring",
    "phoenix": "tracing",
    "mlflow": "experiments",
}


def services(deployment: Deployment, others: tuple[Service, ...]) -> Iterable[Service]:
    """A task that makes or checks the certificate, nginx, and where an authority gives certificates, what renews them."""
    settings = deployment.settings
    _check_shown(settings)
    site = sites.site(settings, others)
    given = tuple(_given(deployment))
    measures = (MEASURES_VOLUME,) if deployment.has("monitoring") else ()  # where it says until when the certificate is good
    told = {**_told(given), **({"FREEHOLD_MEASURES": f"${{data:{MEASURES_VOLUME.name}}}"} if measures else {})}
    yield Service(
        name="certificate",
        kind="task",
        program="freehold",
        args=("certificate", "prepare", "--folder", "${data:edge}"),
        env={"FREEHOLD_HOME": "${home}", "FREEHOLD_CONFIG": "${config}", **told},
        environment="user",
        volumes=(_VOLUME, *measures),
        secrets=given,
        restarts=False,
        about="certificate of the edge",
    )
    host = sites.host(settings)
    yield Service(
        name="edge",
        program="nginx",
        args=("-p", "${data:edge}", "-e", "stderr", "-c", "${files}/nginx.conf"),
        files=(File("nginx.conf", nginx_conf(site)),),
        ports=tuple(_ports(site, host)),
        volumes=(_VOLUME,),
        health=Health("http", "http://${address:edge.redirect}/edge/health"),
        needs=("certificate", "server"),
        stop_signal="SIGTERM",
        networks=("apps", "observe"),
        limits=Limits(256 * 1024**2),
        about="nginx",
    )
    if settings.edge.tls == "acme":
        yield Service(
            name="renewal",
            program="freehold",
            args=("certificate", "keep", "--folder", "${data:edge}"),
            env={"FREEHOLD_HOME": "${home}", "FREEHOLD_CONFIG": "${config}", **told},
            environment="user",  # proxies and authorities of the network it asks through
            volumes=(_VOLUME, *measures),
            health=Health("alive"),
            needs=("edge",),
            networks=("out",),
            about="renews the certificate of the edge",
        )


def _ports(site: sites.Site, host: str) -> Iterable[Port]:
    yield Port(site.port, host, "edge.port", name="https", published=True)
    yield Port(site.redirect_port, host, "edge.redirect_port", name="redirect", published=True)
    for shown in site.shown:
        if not shown.name:
            yield Port(shown.port, host, f"edge.{shown.service}_port", name=shown.service, published=True)
    if site.status_port:
        yield Port(site.status_port, "", "edge.port", name="status")


def _check_shown(settings: Settings) -> None:
    for dashboard in settings.edge.expose:
        if (option := _COMES_WITH[dashboard]) not in settings.stack.services:
            raise ConfigError(
                f'edge.expose: "{dashboard}" comes with "{option}", which is not asked for',
                hint=f'`freehold up --with {option}`, or add "{option}" to stack.services',
            )


def _given(deployment: Deployment) -> Iterable[Secret]:
    """Files of the user's that the task checks and puts where nginx reads them."""
    edge = deployment.settings.edge
    if edge.tls == "files" and edge.certificate and edge.key:
        yield Secret("edge_certificate", "given", "certificate of the edge", file=str(edge.certificate.absolute()))
        yield Secret("edge_key", "given", "private key of the edge", file=str(edge.key.absolute()))
    if edge.auth == "basic" and edge.users:
        yield Secret("edge_users", "given", "names and hashed passwords of the edge", file=str(edge.users.absolute()))


def _told(given: Iterable[Secret]) -> dict[str, str]:
    return {f"FREEHOLD_{secret.name.upper()}_FILE": f"${{secret_file:{secret.name}}}" for secret in given}
