"""What an alert is: a condition, how long it holds, and what somebody who is woken by it should know and do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from freehold.stack.monitoring.yaml_text import yaml_text

#: critical: people get no answers, or soon will not. warning: look at it today. none: not for people.
Severity = Literal["critical", "warning", "none"]


@dataclass(frozen=True)
class Alert:
    """One alert of Prometheus, with its runbook."""

    name: str
    #: PromQL; every series it has is an alert.
    expr: str
    #: How long that must be so, e.g. "2m"; empty: at once.
    lasting: str
    severity: Severity
    #: One line for people; may hold Prometheus templates, e.g. `{{ $labels.job }}`.
    summary: str
    #: The runbook: what it means, where to look, what to do. Markdown.
    means: str
    look: str
    do: str
    #: Alerts whose firing explains this one, which then keeps quiet.
    explained_by: tuple[str, ...] = ()
    #: Labels in which both must agree for that.
    of_the_same: tuple[str, ...] = ()
    #: Jobs that explain it when they are down.
    needs: tuple[str, ...] = ()

    @property
    def anchor(self) -> str:
        """Where its runbook stands in the page: `targetdown`."""
        return self.name.lower()


@dataclass(frozen=True)
class Watched:
    """What alerts have to know of the stack they watch."""

    #: Jobs that Prometheus scrapes, e.g. ("server", "model", "node").
    jobs: tuple[str, ...]
    #: Those of model servers.
    models: tuple[str, ...]
    #: Worker processes and the runs that all of them can execute at once.
    workers: int
    slots: int


def rules_file(groups: Iterable[tuple[str, Iterable[Alert]]], *, runbooks: str) -> str:
    """The text of a rule file with these groups of alerts; `runbooks`: path or URL of the page with their runbooks."""
    return yaml_text({"groups": [{"name": f"freehold-{name}", "rules": [_rule(a, runbooks) for a in alerts]} for name, alerts in groups]})


def _rule(alert: Alert, runbooks: str) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expr,
        **({"for": alert.lasting} if alert.lasting else {}),
        "labels": {"severity": alert.severity},
        "annotations": {
            "summary": alert.summary,
            "description": f"{alert.means} To do: {alert.do}",
            "runbook_url": f"{runbooks}#{alert.anchor}",
        },
    }
