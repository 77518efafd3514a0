"""A folder of wheels that installs on a machine without an index: fetched and checked here, checked again there."""

from __future__ import annotations

import hashlib
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from freehold.core.errors import DownloadError
from freehold.operate.build import tools
from freehold.operate.build.lock import Lock
from freehold.operate.build.wheel import ProjectWheel


def running_python() -> str:
    """Of this process, e.g. `3.12`."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


async def fetch(locked: Lock, wheels: Path, python: str) -> None:
    """Put a wheel of everything in the lock into a folder; what has none is built, which only the running Python can.

    Raises:
        DownloadError: the index does not answer, a hash is wrong, or something has to be built for another Python.
    """
    if not locked.wheels_only and python != running_python():
        raise DownloadError(
            f"some packages have no wheel for Python {python} and must be built",
            hint=f"run `freehold build --bundle` with Python {python}",
        )
    with tempfile.TemporaryDirectory(prefix="freehold-bundle-") as folder:
        lock = Path(folder) / "requirements.lock"
        lock.write_text(locked.text, encoding="utf-8")
        common = ["--quiet", "--no-deps", "--require-hashes", "--disable-pip-version-check", "-r", str(lock)]
        if locked.wheels_only:
            command = ["download", "--only-binary=:all:", "--python-version", python, "--dest", str(wheels)]
        else:
            command = ["wheel", "--wheel-dir", str(wheels)]
        await tools.run([*tools.pip(), *command, *common], "wheels could not be fetched")


def files(project: ProjectWheel, python: str, variables: Sequence[str]) -> dict[str, str]:
    """Name -> text of what lies beside the wheels."""
    return {"install.sh": _install(project, python), "README.md": _readme(project, python, variables)}


def pack(folder: Path) -> Path:
    """A tar of the folder beside it, with nothing of this machine in it."""
    path = folder.with_name(folder.name + ".tar")
    with tarfile.open(path, "w") as archive:
        archive.add(folder, arcname=folder.name, filter=_anonymous)
    return path


def write_sums(folder: Path) -> None:
    """SHA256SUMS of the wheels, which install.sh checks."""
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  wheels/{path.name}\n" for path in sorted((folder / "wheels").iterdir())]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    return entry


def _install(project: ProjectWheel, python: str) -> str:
    return f"""\
#!/bin/sh
# Installs {project.name} and everything it needs into an environment of its own, from the wheels beside this file. Needs no network.
# Usage: ./install.sh [FOLDER], default ./venv. PYTHON names another Python {python} than the one on the path.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=${{1:-venv}}
python=${{PYTHON:-python{python}}}

"$python" -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != "{python}" and "Python {python} is needed; PYTHON=... names it")'
check="shasum --algorithm 256"
if command -v sha256sum >/dev/null; then check=sha256sum; fi
(cd "$here" && $check --check SHA256SUMS >/dev/null)
"$python" -m venv "$target"
"$target/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --find-links "$here/wheels" {project.name}
agents=$("$target/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib") + "/{project.agents_file}")')
echo "installed into $target"
echo "check it:  FREEHOLD_AGENTS=$agents $target/bin/freehold check"
echo "serve it:  FREEHOLD_AGENTS=$agents $target/bin/freehold up"
"""


def _readme(project: ProjectWheel, python: str, variables: Sequence[str]) -> str:
    needed = f"\nIt reads these variables, whose values are not in the bundle: {', '.join(variables)}.\n" if variables else ""
    return f"""\
# {project.name}

`./install.sh` makes an environment with everything in it, for Python {python} on the kind of machine the bundle was made on. No network is
needed. It checks the wheels against SHA256SUMS, and says how to serve the agents.
{needed}"""
