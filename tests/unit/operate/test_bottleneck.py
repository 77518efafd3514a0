"""Which part is named for which measures."""

from __future__ import annotations

import math
from typing import Any

import pytest

from freehold.operate.bottleneck import Load, ModelLoad, find

#: Four places, all taken, and runs that wait.
FULL: dict[str, Any] = {"queue_depth": 6.0, "queue_age_seconds": 12.0, "slots": 4.0, "busy": 4.0}
ROOM = ModelLoad("model", running=1, waiting=0, cache_usage=0.2, places=4)


@pytest.mark.parametrize(
    ("measured", "part", "says"),
    [
        ({}, "none", "nothing waits"),
        ({"slots": 4.0, "busy": 4.0, "model_calls": 4.0}, "none", "nothing waits"),
        ({"queue_depth": 1.0, "queue_age_seconds": 0.1, "slots": 4.0, "busy": 2.0}, "none", "being taken"),
        ({"queue_depth": math.nan}, "database", "does not answer"),
        ({**FULL, "statements_waiting": 3.0, "model_calls": 4.0}, "database", "3 statements wait"),
        ({**FULL, "memory": 0.97, "model_calls": 4.0}, "memory", "97%"),
        ({"models": (ModelLoad("model", 4, 7),)}, "model", "7 requests wait in model, 4 are answered"),
        ({"models": (ModelLoad("model", 4, 0, 0.95),)}, "model", "95% of its KV cache"),
        ({"models": (ROOM, ModelLoad("model-small", 2, 3))}, "model", "model-small"),
        ({**FULL, "slots": 0.0, "busy": 0.0}, "workers", "no worker runs"),
        ({**FULL, "busy": 1.0}, "workers", "have places free"),
        ({**FULL, "model_calls": 3.5}, "model", "88% of the time by calls of the model"),
        ({**FULL, "model_calls": 4.0, "models": (ModelLoad("model", 4, 0, 0.4, 4),)}, "model", "100% of the time"),
        ({**FULL, "model_calls": 4.0, "models": (ROOM,)}, "workers", "all 4 places"),
        ({**FULL, "tool_calls": {"slow": 3.0, "quick": 0.5}, "model_calls": 0.5}, "tools", "most of all slow"),
        ({**FULL, "tool_calls": {"slow": 1.0}, "model_calls": 1.0}, "workers", "all 4 places"),
        ({**FULL, "model_calls": 1.0, "processors": 0.99}, "processors", "99%"),
        ({**FULL, "model_calls": 3.9, "processors": 0.99}, "model", "calls of the model"),
    ],
)
def test_the_part_that_is_waited_for_is_named_with_a_reason(measured: dict[str, Any], part: str, says: str) -> None:
    found = find(Load(**measured))
    assert (found.part, says in found.why) == (part, True), found
    assert (found.todo is None) == (part == "none")
