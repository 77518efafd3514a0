"""Every query of every panel and every recorded series, asked of a real Prometheus that measures the real services at work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.integration.instruments.busy import MODEL, Busy, busy, queries

from freehold.stack.monitoring.dashboards import DASHBOARDS
from freehold.stack.monitoring.recording import groups

# The first one may have to build llama.cpp and fetch the model.
pytestmark = pytest.mark.timeout(2400)

#: Longest that a series may take to appear: some are made of five minutes, of which two measures are enough.
SECONDS = 300

#: Rows of what runs here; the others: test_edge_and_gpu.py, test_other_engines.py.
HERE = (None, "llama.cpp")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Busy]:
    with busy(tmp_path_factory.mktemp("busy")) as stack:
        yield stack


@pytest.mark.parametrize("uid", [dashboard.uid for dashboard in DASHBOARDS if dashboard.uid != "freehold-gpu"])
def test_every_query_of_a_page_has_series(stack: Busy, uid: str) -> None:
    assert stack.prometheus.without_series(queries(*HERE, uid=uid), seconds=SECONDS) == []


def test_every_variable_offers_something_to_choose(stack: Busy) -> None:
    variables = [variable for dashboard in DASHBOARDS if dashboard.uid != "freehold-gpu" for variable in dashboard.variables]
    asked = [f'{variable.metric}{{{variable.of}!=""}}' for variable in variables]
    assert stack.prometheus.without_series(asked, seconds=SECONDS) == []


def test_every_recorded_series_is_there(stack: Busy) -> None:
    recorded = {rule.record for group in groups() for rule in group.rules} - {"freehold:gpu_memory_usage"}
    assert stack.prometheus.without_series(recorded, seconds=SECONDS) == []
    assert {name: said for name, said in stack.prometheus.rules().items() if said != "ok"} == {}


def test_everything_that_is_measured_answers(stack: Busy) -> None:
    targets = stack.prometheus.targets()
    assert set(targets) >= {"server", "model", "postgres-exporter", "valkey-exporter", "node-exporter", "prometheus"}
    assert {job: health for job, health in targets.items() if health != "up"} == {}


@pytest.mark.parametrize(
    ("recorded", "source"),
    [
        ("freehold:model_requests_running", "engine"),
        ("freehold:model_requests_waiting", "engine"),
        ("freehold:model_kv_cache_usage", "engine"),
        ("freehold:model_tokens_generated:rate1m", "engine"),
        ("freehold:model_ttft_seconds:p95", "agents"),
        ("freehold:model_e2e_seconds:p95", "agents"),
    ],
)
def test_llama_cpp_measures_itself_where_it_can_and_our_agents_where_it_does_not(stack: Busy, recorded: str, source: str) -> None:
    asked = f'{recorded}{{model="{MODEL}"}}'
    assert stack.prometheus.without_series([asked], seconds=SECONDS) == []
    assert {series["metric"]["source"] for series in stack.prometheus.series(asked)} == {source}
