"""Which unit of systemd a process belongs to, by its line in /proc."""

from __future__ import annotations

import os

import pytest

from freehold.operate.upgrade import unit


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("0::/system.slice/freehold.service", "freehold.service"),
        ("0::/system.slice/system-freehold.slice/freehold-lab.service", "freehold-lab.service"),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/freehold.service", "--user freehold.service"),
        ("0::/user.slice/user-1000.slice/session-3.scope", None),
        ("0::/system.slice/ssh.service", None),
        ("0::/", None),
    ],
)
def test_only_units_of_ours_count(line: str, name: str | None) -> None:
    assert unit.named_in(line) == name


def test_a_process_of_a_shell_and_one_that_is_gone_belong_to_none() -> None:
    assert unit.of(os.getpid()) is None
    assert unit.of(2**22 + 1) is None
