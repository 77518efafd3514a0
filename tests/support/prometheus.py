"""Asks a real Prometheus what panels and rules ask it, with Grafana's variables filled in as Grafana does."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any

import httpx

#: What Grafana puts in for its own variables; any choice of ours is "All".
_FILLED = {"$__rate_interval": "1m", "$__range": "5m"}
_SECONDS = 30.0
_CHOICE = re.compile(r"\$[a-z_]+")


def filled(expr: str) -> str:
    """The query as Prometheus gets it."""
    for name, value in _FILLED.items():
        expr = expr.replace(name, value)
    return _CHOICE.sub(".*", expr)


class Prometheus:
    """A running one, by its URL."""

    def __init__(self, url: str) -> None:
        self._url = url

    def series(self, expr: str) -> list[dict[str, Any]]:
        """What a query has now; a query it does not understand fails the test."""
        answer = httpx.get(f"{self._url}/api/v1/query", params={"query": filled(expr)}, timeout=_SECONDS)
        assert answer.status_code == 200, f"{expr}: {answer.json()['error']}"
        return list(answer.json()["data"]["result"])

    def without_series(self, exprs: Iterable[str], *, seconds: float) -> list[str]:
        """Those that had no series in all of that time. A query counts as answered once it had some."""
        missing = list(dict.fromkeys(exprs))
        deadline = time.monotonic() + seconds
        while missing and time.monotonic() < deadline:
            missing = [expr for expr in missing if not self.series(expr)]
            time.sleep(1 if missing else 0)
        return missing

    def targets(self) -> dict[str, str]:
        """Health of each job, "up" where all of its targets are."""
        found: dict[str, str] = {}
        for target in httpx.get(f"{self._url}/api/v1/targets").json()["data"]["activeTargets"]:
            job = target["labels"]["job"]
            found[job] = target["health"] if found.get(job, "up") == "up" else found[job]
        return found

    def rules(self) -> dict[str, str]:
        """What evaluating each recording rule last said: "ok", else the error."""
        groups = httpx.get(f"{self._url}/api/v1/rules", params={"type": "record"}).json()["data"]["groups"]
        return {
            rule["name"]: rule["health"] if rule["health"] == "ok" else rule["lastError"] for group in groups for rule in group["rules"]
        }
