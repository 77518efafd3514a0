"""How searches for passages are counted."""

from __future__ import annotations

from contextlib import suppress

import pytest
from prometheus_client import REGISTRY

from freehold.telemetry.retrievals import counted_retrieval


def counts() -> dict[str, float]:
    return {
        kind: REGISTRY.get_sample_value("freehold_retrievals_total", {"outcome": kind}) or 0.0 for kind in ("found", "nothing", "failed")
    }


@pytest.mark.parametrize(
    ("scores", "outcome", "best"),
    [([0.9, 0.2], "found", 0.9), ([], "nothing", 0.0), (None, "failed", 0.0)],
    ids=["found", "nothing", "failed"],
)
def test_a_search_counts_once_by_what_became_of_it_and_by_its_best_score(scores: list[float] | None, outcome: str, best: float) -> None:
    before = counts()
    searches = REGISTRY.get_sample_value("freehold_retrieval_duration_seconds_count") or 0.0
    score = REGISTRY.get_sample_value("freehold_retrieval_best_score_sum") or 0.0
    with suppress(ValueError), counted_retrieval() as found:
        if scores is None:
            raise ValueError
        found(scores)
    assert {kind: count - before[kind] for kind, count in counts().items()} == {kind: float(kind == outcome) for kind in before}
    assert REGISTRY.get_sample_value("freehold_retrieval_duration_seconds_count") == searches + 1
    assert REGISTRY.get_sample_value("freehold_retrieval_best_score_sum") == pytest.approx(score + best)
