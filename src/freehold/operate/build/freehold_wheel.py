"""Freehold's own wheel, for what is built: made from the sources it runs from, copied from where it was installed, or from an index."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import dataclass
from email.parser import HeaderParser
from importlib.metadata import distribution, version
from pathlib import Path
from urllib.parse import unquote, urlsplit

from freehold.operate.build import tools
from freehold.operate.build.wheel import locked_file


@dataclass(frozen=True)
class FreeholdWheel:
    """`requirement` is what the project's wheel asks for, `needs` what the lock resolves, `line` the wheel's own line of a lock."""

    requirement: str
    needs: tuple[str, ...]
    line: str


async def put(folder: Path) -> FreeholdWheel:
    """Put the wheel of the Freehold that runs into a folder; where it came from an index, it is locked like all else.

    Raises:
        DownloadError: it cannot be made from its sources.
    """
    requirement = f"freehold=={version('freehold')}"
    place = _origin()
    if place is None:
        return FreeholdWheel(requirement, (requirement,), "")
    if place.suffix == ".whl":
        shutil.copyfile(place, folder / place.name)
    else:
        command = [*tools.uv(), "build", "--wheel", "--quiet", "--no-create-gitignore", "--out-dir", str(folder), str(place)]
        await tools.run(command, "Freehold's wheel cannot be made")
    path = _in(folder)
    return FreeholdWheel(requirement, _needs(path), locked_file(path))


def _origin() -> Path | None:
    """The folder of sources it runs from, or the wheel it was installed from; None where an index has it."""
    origin = json.loads(distribution("freehold").read_text("direct_url.json") or "{}")
    url = urlsplit(origin.get("url", ""))
    place = Path(unquote(url.path))
    is_there = place.is_dir() or (place.suffix == ".whl" and place.is_file())
    return place if url.scheme == "file" and is_there else None


def _in(folder: Path) -> Path:
    (path,) = folder.glob("freehold-*.whl")
    return path


def _needs(path: Path) -> tuple[str, ...]:
    """What the wheel requires without its extras."""
    with zipfile.ZipFile(path) as archive:
        (name,) = [entry for entry in archive.namelist() if entry.endswith(".dist-info/METADATA")]
        metadata = HeaderParser().parsestr(archive.read(name).decode())
    return tuple(line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line)
