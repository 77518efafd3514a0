"""Grafana with our dashboards, in containers. It asks Prometheus and nobody else: no plugins are fetched, nothing is told to its makers.

Without containers there is none: no package index has it. `freehold render dashboards` writes the same pages for one of your own.
"""

from __future__ import annotations

from freehold.stack.deployment import Deployment
from freehold.stack.edge.site import origins_of
from freehold.stack.monitoring import dashboards
from freehold.stack.monitoring.yaml_text import yaml_text
from freehold.stack.service import File, Health, Limits, Metrics, Port, Secret, Service, Volume

#: Whose password the secret is.
ADMIN = "admin"

_QUIET = {
    "GF_ANALYTICS_REPORTING_ENABLED": "false",
    "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
    "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
    "GF_ANALYTICS_FEEDBACK_LINKS_ENABLED": "false",
    "GF_NEWS_NEWS_FEED_ENABLED": "false",
    "GF_SECURITY_DISABLE_GRAVATAR": "true",
    "GF_SNAPSHOTS_EXTERNAL_ENABLED": "false",
    "GF_PLUGINS_PREINSTALL_DISABLED": "true",
    "GF_PLUGINS_PLUGIN_ADMIN_ENABLED": "false",
    "GF_PLUGINS_PUBLIC_KEY_RETRIEVAL_DISABLED": "true",
}

_GUARDED = {
    "GF_SECURITY_ADMIN_USER": ADMIN,
    "GF_SECURITY_ADMIN_PASSWORD__FILE": "${secret_file:grafana_admin}",
    # Its own default is printed in its manual; what it stores is encrypted with it.
    "GF_SECURITY_SECRET_KEY__FILE": "${secret_file:grafana_key}",
    "GF_AUTH_ANONYMOUS_ENABLED": "false",
    "GF_USERS_ALLOW_SIGN_UP": "false",
    "GF_SECURITY_COOKIE_SAMESITE": "strict",
    "GF_SECURITY_CONTENT_SECURITY_POLICY": "true",
    "GF_SECURITY_STRICT_TRANSPORT_SECURITY": "false",  # the edge's affair
}


def service(deployment: Deployment) -> Service:
    wanted = deployment.settings.monitoring
    port = wanted.ports.grafana
    shown = origins_of(deployment.settings, "grafana")
    return Service(
        name="grafana",
        program="grafana",
        env={
            "GF_SERVER_HTTP_ADDR": "${listen}",
            "GF_SERVER_HTTP_PORT": str(port),
            "GF_PATHS_PROVISIONING": "${files}/provisioning",
            "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": f"${{files}}/dashboards/{dashboards.DASHBOARDS[0].uid}.json",
            "GF_LOG_MODE": "console",
            **_QUIET,
            **_GUARDED,
            "GF_SECURITY_COOKIE_SECURE": "true" if shown else "false",  # without the edge it is reached over HTTP on this machine
            **({"GF_SERVER_ROOT_URL": f"{shown[0]}/"} if shown else {}),
        },
        ports=(Port(port, "127.0.0.1", "monitoring.ports.grafana", published=wanted.published),),
        volumes=(Volume("grafana", "people of Grafana, and dashboards they made there"),),
        files=(
            File("provisioning/datasources/freehold.yaml", _data_source(wanted.scrape_seconds)),
            File("provisioning/dashboards/freehold.yaml", _provider()),
            *(File(f"dashboards/{name}", text) for name, text in dashboards.texts().items()),
        ),
        secrets=(
            Secret("grafana_admin", "generated", f"first password of {ADMIN} in Grafana", lasting=True),
            Secret("grafana_key", "generated", "what Grafana encrypts its own secrets with", lasting=True),
        ),
        health=Health("http", "http://${address:grafana}/api/health", start_seconds=120),
        needs=("prometheus",),
        grace_seconds=20,
        metrics=Metrics(),
        networks=("observe",),
        limits=Limits(512 * 1024**2),
        about="Grafana",
    )


def _data_source(scrape_seconds: int) -> str:
    """`timeInterval` is what Grafana reckons `$__rate_interval` from."""
    source = {
        "name": "Prometheus",
        "uid": "freehold",
        "type": "prometheus",
        "access": "proxy",
        "url": "http://${address:prometheus}",
        "isDefault": True,
        "editable": False,
        "jsonData": {"httpMethod": "POST", "timeInterval": f"{scrape_seconds}s"},
    }
    return yaml_text({"apiVersion": 1, "datasources": [source]})


def _provider() -> str:
    provider = {
        "name": "freehold",
        "folder": "Freehold",
        "type": "file",
        "allowUiUpdates": False,
        "disableDeletion": True,
        "options": {"path": "${files}/dashboards"},
    }
    return yaml_text({"apiVersion": 1, "providers": [provider]})
