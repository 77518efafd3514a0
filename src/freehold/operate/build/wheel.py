"""Writes a project's files as a wheel: installed like any package, byte for byte the same for the same files."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

from freehold.operate.build.sources import Sources

#: Zip files know no earlier day.
_DAY = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class ProjectWheel:
    """A written wheel. `agents_file` is its langgraph.json below site-packages, e.g. `translator_agents/langgraph.json`."""

    name: str
    file: str
    agents_file: str
    line: str


def write(sources: Sources, folder: Path, *, requires: tuple[str, ...]) -> ProjectWheel:
    """Write `<name>-<version>-py3-none-any.whl` into a folder."""
    module = sources.name.replace("-", "_")
    info = f"{module}-{sources.version}.dist-info"
    files = {f"{module}/{path}": content for path, content in sources.files.items()}
    files[f"{info}/METADATA"] = _metadata(sources, requires)
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: freehold\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = [f"{path},sha256={_digest(content)},{len(content)}" for path, content in files.items()]
    files[f"{info}/RECORD"] = ("\n".join([*record, f"{info}/RECORD,,"]) + "\n").encode()
    path = folder / f"{module}-{sources.version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _DAY)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return ProjectWheel(sources.name, path.name, f"{module}/langgraph.json", locked_file(path))


def locked_file(path: Path) -> str:
    """The line of a requirements file for a wheel that lies beside it, e.g. `./wheels/a-1-py3-none-any.whl --hash=sha256:…`."""
    return f"./wheels/{path.name} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def _metadata(sources: Sources, requires: tuple[str, ...]) -> bytes:
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {sources.name}",
        f"Version: {sources.version}",
        *(f"Requires-Dist: {one}" for one in requires),
    ]
    return ("\n".join(lines) + "\n").encode()


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
