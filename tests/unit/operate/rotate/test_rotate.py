"""In which order what is restarted, and which secrets are left alone."""

from __future__ import annotations

import pytest

from freehold.core.errors import Conflict, FreeholdError, NotFound, NotSupported
from freehold.operate.rotate import _chosen, _groups, can_change
from freehold.operate.rotate.site import Held

HELD = {
    secret.name: secret
    for secret in (
        Held("model_key", "", "generated", 1.0, ("model", "server", "worker")),
        Held("endpoint_key", "", "given", 1.0, ("server",)),
        Held("salt", "", "generated", 1.0, ("gateway",), lasting=True),
        Held("unborn", "", "generated", None, ()),
    )
}


def test_each_process_restarts_alone_in_the_order_of_need() -> None:
    assert _groups(("server", "worker-1", "worker-2", "webui")) == [("server",), ("webui",), ("worker-1",), ("worker-2",)]


def test_workers_rest_while_a_model_server_restarts() -> None:
    assert _groups(("model-1", "model-2", "server", "worker", "prometheus")) == [
        ("model-1", "model-2", "worker"),
        ("server",),
        ("prometheus",),
    ]


def test_a_secret_that_nobody_knows_needs_no_restart() -> None:
    assert _groups(()) == []


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("nothing", NotFound, 'no secret "nothing"'),
        ("endpoint_key", NotSupported, "comes from your settings"),
        ("salt", NotSupported, "counts at the first start alone"),
        ("unborn", Conflict, "no value yet"),
    ],
)
def test_what_cannot_be_changed_is_said(name: str, error: type[FreeholdError], message: str) -> None:
    with pytest.raises(error, match=message):
        _chosen(HELD, name)


def test_all_means_those_that_can_be_changed() -> None:
    assert [name for name, secret in HELD.items() if can_change(secret)] == ["model_key"]
