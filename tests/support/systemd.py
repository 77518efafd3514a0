"""systemd's checker of units: where it is not there, Debian's package is installed, as root, once."""

from __future__ import annotations

import os
import shutil
import subprocess


def analyze() -> str:
    """Path of `systemd-analyze`; it needs no running systemd."""
    if (found := shutil.which("systemd-analyze")) is None:
        if os.getuid() != 0 or not shutil.which("apt-get"):
            raise RuntimeError("these tests need systemd-analyze: install the package systemd")
        for command in (("update", "-qq"), ("install", "-y", "-qq", "--no-install-recommends", "systemd")):
            subprocess.run(["apt-get", *command], check=True, capture_output=True)
        found = shutil.which("systemd-analyze")
    assert found
    return found
