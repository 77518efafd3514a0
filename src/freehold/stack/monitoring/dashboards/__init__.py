"""Grafana dashboards as code: a page a file; `panel.py` has the nouns and makes Grafana's JSON of them."""

from __future__ import annotations

import json
from collections.abc import Mapping

from freehold.stack.monitoring.dashboards import agent_runs, data_stores, gpu, model_servers, overview, retrieval
from freehold.stack.monitoring.dashboards.panel import Dashboard, grafana

#: In the order of the links at the top of each.
DASHBOARDS: tuple[Dashboard, ...] = (
    overview.DASHBOARD,
    model_servers.DASHBOARD,
    agent_runs.DASHBOARD,
    retrieval.DASHBOARD,
    data_stores.DASHBOARD,
    gpu.DASHBOARD,
)


def texts() -> Mapping[str, str]:
    """Each dashboard's JSON by the name of its file, e.g. "freehold-overview.json"."""
    return {f"{dashboard.uid}.json": json.dumps(grafana(dashboard), indent=2) + "\n" for dashboard in DASHBOARDS}
