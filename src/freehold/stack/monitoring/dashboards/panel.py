"""The nouns of a dashboard, and how they become the JSON that Grafana reads.

Our own few nouns instead of grafana-foundation-sdk: plans are made where people run Freehold, so it would be a dependency of every
installation, and it follows Grafana 11 at most. The tests read what comes out with it.

A panel answers one question. It has a unit, a sentence for whoever does not know the metric, and colours only where a value is good
or bad. Panels stand in rows; where exactly follows from their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

#: Grafana's grid.
COLUMNS = 24
#: What Grafana 11 writes; newer ones read it too.
SCHEMA_VERSION = 39
#: Dashboards with this tag link to each other.
TAG = "freehold"

Kind = Literal["timeseries", "stat", "bargauge"]
Colour = Literal["green", "yellow", "red"]

#: The data source a person chooses at the top; ours where there is no other. Without braces: those are placeholders of a stack.
_SOURCE = {"type": "prometheus", "uid": "$datasource"}


@dataclass(frozen=True)
class Query:
    """One PromQL expression; `legend` names its series, e.g. `{{model}} p95`."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One question and its answer.

    `unit` is Grafana's name of it, e.g. "s", "percentunit", "bytes", "reqps", "short". `steps`: from which value on which colour.
    `most`: upper end of the axis. `stacked`: series add up to something.
    """

    title: str
    about: str
    queries: tuple[Query, ...]
    unit: str
    kind: Kind = "timeseries"
    steps: tuple[tuple[float, Colour], ...] = ()
    most: float | None = None
    stacked: bool = False
    width: int = 8
    height: int = 8
    decimals: int | None = None


@dataclass(frozen=True)
class Row:
    """Panels under a title. `needs`: the optional part or engine without which they stay empty, e.g. "vllm"."""

    title: str
    panels: tuple[Panel, ...]
    needs: str | None = None


@dataclass(frozen=True)
class Variable:
    """A choice at the top of a dashboard: the values of a label."""

    name: str
    label: str
    metric: str
    of: str


@dataclass(frozen=True)
class Dashboard:
    """A page of panels; `uid` is its address, e.g. `/d/freehold-overview`."""

    uid: str
    title: str
    about: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()
    #: How far back it looks at first.
    since: str = "now-1h"

    @property
    def panels(self) -> tuple[Panel, ...]:
        return tuple(panel for row in self.rows for panel in row.panels)


def grafana(dashboard: Dashboard) -> dict[str, Any]:
    """The JSON model of a dashboard."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.about,
        "tags": [TAG],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,  # the cross hair of one panel shows in all
        "timezone": "browser",
        "time": {"from": dashboard.since, "to": "now"},
        "refresh": "30s",
        "links": [_links()],
        "templating": {"list": [_data_source(), *(_variable(variable) for variable in dashboard.variables)]},
        "annotations": {"list": []},
        "panels": list(_placed(dashboard.rows)),
    }


def _placed(rows: Sequence[Row]) -> Iterable[dict[str, Any]]:
    number, y = 0, 0
    for row in rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
        }
        x, y, height = 0, y + 1, 0
        for panel in row.panels:
            number += 1
            if x + panel.width > COLUMNS:
                x, y, height = 0, y + height, 0
            yield {"id": number, **_panel(panel), "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height}}
            x, height = x + panel.width, max(height, panel.height)
        y += height


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "targets": [_target(query, place, panel.kind) for place, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _OPTIONS[panel.kind],
    }


def _target(query: Query, place: int, kind: Kind) -> dict[str, Any]:
    is_now = kind == "bargauge"
    return {
        "refId": chr(ord("A") + place),
        "datasource": _SOURCE,
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
        "instant": is_now,
        "range": not is_now,
        "editorMode": "code",
        "format": "time_series",
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    steps += [{"color": colour, "value": value} for value, colour in panel.steps]
    if panel.steps and panel.steps[0][1] == "green":  # more is better
        steps[0]["color"] = "red"
    return {
        "unit": panel.unit,
        "noValue": "none yet",
        "min": 0,
        **({"max": panel.most} if panel.most is not None else {}),
        **({"decimals": panel.decimals} if panel.decimals is not None else {}),
        "color": {"mode": "thresholds" if panel.steps and panel.kind != "timeseries" else "palette-classic"},
        "thresholds": {"mode": "absolute", "steps": steps},
        **({"custom": _lines(panel)} if panel.kind == "timeseries" else {}),
    }


def _lines(panel: Panel) -> dict[str, Any]:
    return {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 30 if panel.stacked else 10,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if panel.steps else "off"},
    }


_REDUCED = {"calcs": ["lastNotNull"], "fields": "", "values": False}

_OPTIONS: Mapping[Kind, dict[str, Any]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "reduceOptions": _REDUCED,
        "graphMode": "area",
        "colorMode": "value",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "auto",
        "wideLayout": True,
    },
    "bargauge": {
        "reduceOptions": _REDUCED,
        "displayMode": "basic",
        "orientation": "horizontal",
        "showUnfilled": True,
        "valueMode": "color",
    },
}


def _links() -> dict[str, Any]:
    return {
        "type": "dashboards",
        "tags": [TAG],
        "title": "",
        "icon": "external link",
        "tooltip": "",
        "asDropdown": False,
        "includeVars": False,
        "keepTime": True,
        "targetBlank": False,
    }


def _data_source() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0, "multi": False}


def _variable(variable: Variable) -> dict[str, Any]:
    return {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": f"label_values({variable.metric}, {variable.of})", "refId": variable.name},
        "refresh": 2,  # whenever the time range changes
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "hide": 0,
    }
