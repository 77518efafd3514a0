"""What holds for every page: panels that say what they show, in Grafana's own form, where they do not cover each other."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard as GrafanaDashboard

from freehold.stack.monitoring.dashboards import DASHBOARDS, texts
from freehold.stack.monitoring.dashboards.panel import COLUMNS, TAG, Dashboard, Panel
from freehold.stack.monitoring.recording import groups
from freehold.telemetry.metrics import declared

PANELS = [pytest.param(panel, id=f"{dashboard.uid}-{panel.title}") for dashboard in DASHBOARDS for panel in dashboard.panels]
UNITS = {value for name, value in vars(units).items() if isinstance(value, str)}


def written(dashboard: Dashboard) -> dict[str, Any]:
    return dict(json.loads(texts()[f"{dashboard.uid}.json"]))


def test_addresses_are_short_and_each_has_one() -> None:
    assert len({dashboard.uid for dashboard in DASHBOARDS}) == len(DASHBOARDS) == len(texts())
    assert all(re.fullmatch(r"freehold-[a-z]+", dashboard.uid) for dashboard in DASHBOARDS)


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows_in_which_unit(panel: Panel) -> None:
    assert panel.about.endswith(".")
    assert panel.unit in UNITS
    assert panel.kind in ("timeseries", "stat", "bargauge")
    assert len(panel.queries) == 1 or all(query.legend for query in panel.queries)
    assert [value for value, _ in panel.steps] == sorted(value for value, _ in panel.steps)


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_asks_only_for_names_of_ours_that_exist(panel: Panel) -> None:
    own = {family.name for metric in declared() for family in metric.describe()}
    recorded = {rule.record for group in groups({"model": 1}) for rule in group.rules}
    for query in panel.queries:
        assert set(re.findall(r"freehold:[\w:]+", query.expr)) <= recorded
        for name in re.findall(r"(?<![:\w])(?:freehold|llm)_\w+", query.expr):
            assert name in own or re.sub(r"_(total|bucket|sum|count)$", "", name) in own


@pytest.mark.parametrize("panel", PANELS)
def test_a_rate_is_taken_over_what_grafana_thinks_right_for_the_zoom(panel: Panel) -> None:
    for query in panel.queries:
        for over in re.findall(r"\[([^\]]+)\]", query.expr):
            assert over in ("$__rate_interval", "$__range")


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_panels_stand_side_by_side_and_never_on_each_other(dashboard: Dashboard) -> None:
    taken: set[tuple[int, int]] = set()
    panels = written(dashboard)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] >= 0 and place["x"] + place["w"] <= COLUMNS
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_rows_are_filled_to_the_right_edge(dashboard: Dashboard) -> None:
    for row in dashboard.rows:
        assert sum(panel.width for panel in row.panels) % COLUMNS == 0, row.title


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_every_panel_and_variable_follows_the_data_source_that_was_chosen(dashboard: Dashboard) -> None:
    page = written(dashboard)
    source, *variables = page["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    asked = [*variables, *(panel for panel in page["panels"] if panel["type"] != "row")]
    asked += [target for panel in page["panels"] for target in panel.get("targets", [])]
    assert {one["datasource"]["uid"] for one in asked} == {"$datasource"}


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_a_variable_is_used_and_what_is_used_is_a_variable(dashboard: Dashboard) -> None:
    used = {name for panel in dashboard.panels for query in panel.queries for name in re.findall(r'"\$(\w+)"', query.expr)}
    assert used == {variable.name for variable in dashboard.variables}


def test_pages_link_to_each_other() -> None:
    for dashboard in DASHBOARDS:
        page = written(dashboard)
        assert page["tags"] == [TAG]
        assert [(link["type"], link["tags"]) for link in page["links"]] == [("dashboards", [TAG])]


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_grafanas_own_types_know_every_key_and_value_that_is_written(dashboard: Dashboard) -> None:
    page = written(dashboard)
    read = json.loads(json.dumps(GrafanaDashboard.from_json(page), cls=JSONEncoder))
    assert _lost(page, read) == []


def _lost(page: Any, read: Any, path: str = "") -> list[str]:
    """Where what was written did not come back."""
    if isinstance(page, dict) and isinstance(read, dict):
        return [lost for key, value in page.items() for lost in _lost(value, read.get(key), f"{path}.{key}")]
    if isinstance(page, list) and isinstance(read, list) and len(page) == len(read):
        return [lost for index, value in enumerate(page) for lost in _lost(value, read[index], f"{path}[{index}]")]
    return [] if page == read else [f"{path}: {page!r} became {read!r}"]
