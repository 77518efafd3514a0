"""The real nginx, from the package that the native target installs, over a configuration that the plan wrote."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from freehold.config import paths
from freehold.core.progress import Silent
from freehold.targets.native import packages
from freehold.targets.versions import versions

START_SECONDS = 30


def program() -> tuple[str, ...]:
    """Start of nginx's command line; fetched (3 MB) where it is not in the cache yet. As root it works as nobody would: as root."""
    argv = asyncio.run(packages.ensure("nginx", versions()["nginx"], paths.cache(), Silent()))
    return (*argv, "-g", "user root;") if os.getuid() == 0 else argv


def filled(conf: str, folder: Path, *, ports: Mapping[str, int], addresses: Mapping[str, str] | None = None) -> str:
    """The text with what a target puts in: free ports and addresses that nobody answers at, unless they are given."""
    taken: dict[str, int] = dict(ports)

    def value(match: re.Match[str]) -> str:
        kind, name = match[1], match[2]
        if kind == "port":
            return str(taken.setdefault(name, free_port()))
        if kind == "address":
            return (addresses or {}).get(name) or "127.0.0.1:9"
        return str(folder) if kind == "data" else "127.0.0.1"

    return re.sub(r"\$\{([a-z_]+)(?::([a-z_.-]+))?\}", value, conf)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Nginx:
    """A running one."""

    folder: Path
    #: Port by its name in the plan, e.g. "https".
    ports: Mapping[str, int]

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.ports['https']}"

    @property
    def log(self) -> str:
        """Access and error log together."""
        return (self.folder / "log").read_text(errors="replace")

    def logged(self, text: str) -> str:
        """The line of the log that holds a text, once it is there: it is written after the answer."""
        while True:
            if found := [line for line in self.log.splitlines() if text in line]:
                return found[0]
            time.sleep(0.02)


@contextmanager
def running(argv: tuple[str, ...], conf: str, folder: Path, *, ports: Mapping[str, int], addresses: Mapping[str, str]) -> Iterator[Nginx]:
    """nginx over a planned configuration; `folder` has its certificate already."""
    text = filled(conf, folder, ports={f"edge.{name}": port for name, port in ports.items()}, addresses=addresses)
    (folder / "nginx.conf").write_text(text)
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen([*argv, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")], stdout=log, stderr=log)
        found = Nginx(folder, ports)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _listens(ports["redirect"]):
                assert process.poll() is None and time.monotonic() < deadline, found.log
                time.sleep(0.02)
            yield found
        finally:
            process.terminate()
            process.wait(30)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
