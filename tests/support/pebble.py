"""A real certificate authority for tests: Let's Encrypt's Pebble, from the distribution's package, with a name server of its own."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from freehold.config import paths
from freehold.core.progress import Silent
from freehold.operate.certificates.pair import self_signed
from freehold.targets.native import packages
from freehold.targets.versions import Version
from tests.support.nginx import free_port

START_SECONDS = 30


@dataclass(frozen=True)
class Authority:
    directory: str
    #: PEM by which its own API is checked.
    bundle: Path


@contextmanager
def authority(folder: Path, *, http_port: int) -> Iterator[Authority]:
    """An authority that finds every name on this machine, and looks for challenges at this port instead of 80."""
    api, management, names = free_port(), free_port(), free_port()
    pair = self_signed(("127.0.0.1", "localhost"), datetime.now(UTC))
    bundle = folder / "authority.crt"
    bundle.write_text(pair.certificates)
    (folder / "authority.key").write_bytes(pair.key)
    (folder / "pebble.json").write_text(
        json.dumps(
            {
                "pebble": {
                    "listenAddress": f"127.0.0.1:{api}",
                    "managementListenAddress": f"127.0.0.1:{management}",
                    "certificate": str(bundle),
                    "privateKey": str(folder / "authority.key"),
                    "httpPort": http_port,
                    "tlsPort": 5001,
                    "ocspResponderURL": "",
                    "externalAccountBindingRequired": False,
                }
            }
        )
    )
    resolver = [*_program("pebble-challtestsrv"), "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01", f"127.0.0.1:{names}"]
    resolver += ["-http01", "", "-https01", "", "-tlsalpn01", "", "-management", f"127.0.0.1:{free_port()}"]
    server = [*_program("pebble"), "-config", str(folder / "pebble.json"), "-dnsserver", f"127.0.0.1:{names}"]
    environ = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
    with (folder / "pebble.log").open("ab") as log:
        processes = [subprocess.Popen(argv, env=environ, stdout=log, stderr=log) for argv in (resolver, server)]
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _listens(api):
                assert all(process.poll() is None for process in processes), (folder / "pebble.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield Authority(f"https://127.0.0.1:{api}/dir", bundle)
        finally:
            for process in processes:
                process.terminate()
                process.wait(30)


def _program(name: str) -> tuple[str, ...]:
    """One of the two programs of the package `pebble`, unpacked into the cache."""
    return asyncio.run(packages.ensure(name, Version(debian=("pebble",)), paths.cache(), Silent()))


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
