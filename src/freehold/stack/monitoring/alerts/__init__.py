"""Every alert of a stack, by what it is about; a file each. The page of runbooks is written from them (`docs/generate.py`)."""

from __future__ import annotations

from freehold.stack.monitoring.alert import Alert, Watched
from freehold.stack.monitoring.alerts import machine, measuring, models, runs, stores

#: Name of a group and its alerts.
Group = tuple[str, tuple[Alert, ...]]


def groups(watched: Watched) -> tuple[Group, ...]:
    """The alerts of a stack. One about a part that it does not have has no series, so it never fires."""
    return (
        ("measuring", tuple(measuring.alerts(watched))),
        ("models", tuple(models.alerts(watched))),
        ("runs", tuple(runs.alerts(watched))),
        ("stores", tuple(stores.alerts())),
        ("machine", tuple(machine.alerts())),
    )


def alerts(watched: Watched) -> tuple[Alert, ...]:
    """All of them."""
    return tuple(alert for _, group in groups(watched) for alert in group)
