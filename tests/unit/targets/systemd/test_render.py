"""Units as systemd reads them: compared with checked-in ones, and each judged by systemd's own checker.

`python test_render.py` writes the golden files anew; `PYTHONPATH=.` lets it find `tests.support`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.systemd import analyze

from freehold.targets.systemd.render import Job, Place, render

GOLDEN = Path(__file__).parents[3] / "golden" / "systemd"

NATIVE = Place(
    name="freehold",
    command=("/opt/freehold/bin/freehold",),
    project=Path("/srv/agents"),
    home=Path("/srv/agents/.freehold"),
    cache=Path("/var/cache/freehold"),
    config=Path("/srv/agents/freehold.toml"),
    user="freehold",
    stop_seconds=95,
)
CASES = {
    "native": NATIVE,
    "native-as-root-with-timers": Place(
        **{
            **NATIVE.__dict__,
            "user": "root",
            "system_folder": Path("/var/lib/freehold"),
            "jobs": (
                Job("backup", "a backup", ("backup", "--out", "/var/backups/my 100% $afe", "--keep", "7"), writes=Path("/var/backups")),
                Job("prune", "old checkpoints go", ("prune", "--older-than", "30d")),
                Job("certificate", "the certificate of the edge is renewed where it is due", ("certificate", "renew"), "*-*-* 00/12:00"),
            ),
        }
    ),
    "native-on-port-443-with-gpus": Place(**{**NATIVE.__dict__, "low_ports": True, "gpus": True}),
    "native-of-a-user": Place(**{**NATIVE.__dict__, "user": None}),
    "compose": Place(**{**NATIVE.__dict__, "compose": Path("/srv/freehold"), "user": "root"}),
}


@pytest.mark.parametrize("name", CASES)
def test_units_are_as_they_were(name: str) -> None:
    for file, text in render(CASES[name]).items():
        assert text == (GOLDEN / name / file).read_text(), f"if the change is meant: python {Path(__file__).name}"


@pytest.mark.parametrize("name", CASES)
def test_systemd_finds_nothing_wrong(name: str, tmp_path: Path) -> None:
    units = render(CASES[name])
    for file, text in units.items():
        # The program of the example is not on this machine, and Docker's unit need not be.
        text = text.replace("/opt/freehold/bin/freehold", sys.executable).replace("/usr/bin/docker", sys.executable)
        (tmp_path / file).write_text(text.replace("User=freehold\n", f"User={os.getuid()}\n").replace("Requires=docker.service\n", ""))
    scope = ("--user",) if CASES[name].user is None else ()
    done = subprocess.run(
        [analyze(), *scope, "verify", "--man=no", *(str(tmp_path / file) for file in units)],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_path_with_every_special_character_stays_one_word() -> None:
    unit = render(CASES["native-as-root-with-timers"])["freehold-backup.service"]
    assert 'backup --out "/var/backups/my 100%% $$afe" --keep 7' in unit


def test_only_root_may_become_somebody_else_and_only_low_ports_need_a_right() -> None:
    lines = {name: render(place)["freehold.service"].splitlines() for name, place in CASES.items()}
    assert "CapabilityBoundingSet=" in lines["native"]
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE" in lines["native-on-port-443-with-gpus"]
    assert "PrivateDevices=yes" not in lines["native-on-port-443-with-gpus"]
    assert not [line for line in lines["native-of-a-user"] if line.startswith(("User=", "ProtectSystem="))]


if __name__ == "__main__":
    for name, place in CASES.items():
        (GOLDEN / name).mkdir(parents=True, exist_ok=True)
        for file, text in render(place).items():
            (GOLDEN / name / file).write_text(text)
