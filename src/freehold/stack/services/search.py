"""SearXNG: asks many search engines at once and answers as JSON. For the stack's own services alone: it knows no users."""

from __future__ import annotations

import json
from collections.abc import Iterable

from freehold.stack.deployment import Deployment
from freehold.stack.service import File, Health, Limits, Port, Secret, Service

_SAFE_SEARCH = {"off": 0, "moderate": 1, "strict": 2}


def services(deployment: Deployment, others: tuple[Service, ...]) -> Iterable[Service]:
    settings = deployment.settings.search
    options = {"interface": "wsgi", "host": "${listen}", "port": str(settings.port), "workers": "1", "blocking-threads": "4"}
    yield Service(
        name="searxng",
        program="searxng",
        args=(*(part for name, value in options.items() for part in (f"--{name}", value)), "--no-ws", "searx.webapp:app"),
        env={
            "SEARXNG_SETTINGS_PATH": "${files}/settings.yml",
            "SEARXNG_SECRET": "${secret:search_secret}",
            "SEARXNG_DISABLE_ETC_SETTINGS": "1",
        },
        ports=(Port(settings.port, "127.0.0.1", "search.port"),),
        files=(File("settings.yml", _settings(deployment)),),
        secrets=(Secret("search_secret", "generated", "what SearXNG signs its links with"),),
        health=Health("http", "http://${address:searxng}/healthz"),
        grace_seconds=10,
        networks=("apps", "out"),
        limits=Limits(512 * 1024**2),
        about="SearXNG",
    )


def _settings(deployment: Deployment) -> str:
    """settings.yml, in the part of YAML that is JSON."""
    settings = deployment.settings.search
    keep = {"engines": {"keep_only": list(settings.engines)}} if settings.engines else True
    tree = {
        "use_default_settings": keep,
        "general": {"instance_name": "Search", "enable_metrics": False},
        "search": {"safe_search": _SAFE_SEARCH[settings.safe_search], "autocomplete": "", "formats": ["html", "json"]},
        # The limiter tells people from programs, and the callers here are programs; nobody else reaches it.
        "server": {"limiter": False, "public_instance": False, "image_proxy": True, "method": "GET"},
        "outgoing": {"request_timeout": settings.timeout_seconds, "max_request_timeout": 2 * settings.timeout_seconds},
        # An engine that is asked for by name is switched on, whatever SearXNG's own default is.
        **({"engines": [{"name": name, "disabled": False} for name in settings.engines]} if settings.engines else {}),
    }
    return json.dumps(tree, indent=2) + "\n"
