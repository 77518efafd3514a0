"""A real PgBouncer in transaction mode for tests.

The program is the one `FREEHOLD_TEST_PGBOUNCER` names, else the one on the path, else one built from Debian's source package, once, into
the cache. It must be 1.21 or newer: only those know prepared statements in transaction mode.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from freehold.config.paths import cache
from tests.support.servers import NOBODY, START_SECONDS, PostgresServer, identity, short_folder, with_parent

MINIMUM = (1, 21)
#: Has 1.24, and keeps it.
_SUITE = "trixie"
_BUILD_PACKAGES = ("gcc", "make", "pkg-config", "dpkg-dev", "libevent-dev", "libssl-dev")
_HELP = (
    "these tests need PgBouncer 1.21 or newer: put it on the path (Debian 13, Homebrew), or name it in FREEHOLD_TEST_PGBOUNCER; "
    "as root on Debian it is built from the source package"
)


class PgBouncer:
    """One PgBouncer on a Unix socket, in front of a server of `PostgresServer`, with five connections to each database of it.

    Args:
        passwords: of the roles that may enter.
        ignored: `ignore_startup_parameters`.
    """

    def __init__(self, server: PostgresServer, passwords: Mapping[str, str], *, ignored: str = "") -> None:
        self.folder = short_folder("fh-pb-")
        binary = self.folder / "pgbouncer"  # a copy that the account it runs as can read
        shutil.copy(find(), binary)
        (self.folder / "users").write_text("".join(f'"{user}" "{password}"\n' for user, password in passwords.items()))
        (self.folder / "ini").write_text(
            f"[databases]\n* = host={server.folder}\n"
            f"[pgbouncer]\npool_mode = transaction\ndefault_pool_size = 5\nmax_client_conn = 500\nmax_prepared_statements = 100\n"
            f"auth_type = scram-sha-256\nauth_file = {self.folder}/users\nunix_socket_dir = {self.folder}\nlisten_addr =\n"
            f"ignore_startup_parameters = {ignored}\n"
        )
        if os.getuid() == 0:
            for path in (self.folder, *self.folder.iterdir()):
                os.chown(path, NOBODY, NOBODY)
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*with_parent("INT", *identity()), str(binary), str(self.folder / "ini")], stdout=log, stderr=log, cwd=self.folder
            )
        self._wait()

    def url(self, direct: str) -> str:
        """The same database by way of this PgBouncer."""
        return re.sub(r"\?host=.*", f"?host={self.folder}&port=6432", direct)

    def remove(self) -> None:
        """End it and delete its files."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=START_SECONDS)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not (self.folder / ".s.PGSQL.6432").exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PgBouncer did not start:\n{(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)


def find() -> Path:
    """The program. Raises RuntimeError, which says what to do, where there is none and none can be built."""
    if named := os.environ.get("FREEHOLD_TEST_PGBOUNCER"):
        return Path(named)
    on_path = shutil.which("pgbouncer")
    if on_path and _version(Path(on_path)) >= MINIMUM:
        return Path(on_path)
    built = cache() / "test-tools" / "pgbouncer"
    if not built.exists():
        if os.getuid() != 0 or not shutil.which("apt-get"):
            raise RuntimeError(_HELP)
        _build(built)
    return built


def _version(program: Path) -> tuple[int, ...]:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    match = re.search(r"(\d+)\.(\d+)", said)
    assert match, said
    return int(match[1]), int(match[2])


def _build(target: Path) -> None:
    """From the source package of the mirror that apt uses; apt's own lists stay as they are."""
    sys.stderr.write("building PgBouncer from its source package (once, about a minute)\n")
    with tempfile.TemporaryDirectory(prefix="fh-pgbouncer-") as name:
        folder = Path(name)
        for part in ("lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True)
        (folder / "sources.list").write_text(
            f"deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {_mirror()} {_SUITE} main\n"
        )
        options = (f"Dir::Etc::sourcelist={folder}/sources.list", "Dir::Etc::sourceparts=/dev/null")
        own = (*options, f"Dir::State::lists={folder}/lists", f"Dir::Cache={folder}/cache", "APT::Sandbox::User=root")
        apart = [part for option in own for part in ("-o", option)]
        if missing := [package for package in _BUILD_PACKAGES if not _is_installed(package)]:
            _run("apt-get", "update", "-qq", folder=folder)
            _run("apt-get", "install", "-y", "-qq", "--no-install-recommends", "--no-upgrade", *missing, folder=folder)
        _run("apt-get", *apart, "update", "-qq", folder=folder)
        _run("apt-get", *apart, "source", "--download-only", "-qq", "pgbouncer", folder=folder)
        (description,) = folder.glob("pgbouncer_*.dsc")
        _run("dpkg-source", "-x", description.name, "source", folder=folder)
        _run("./configure", "--without-cares", "--with-openssl", folder=folder / "source")
        _run("make", "-j2", "pgbouncer", folder=folder / "source")
        target.parent.mkdir(parents=True, exist_ok=True)
        finished = target.with_name(f"pgbouncer.{os.getpid()}")
        shutil.copy(folder / "source" / "pgbouncer", finished)
        finished.replace(target)


def _is_installed(package: str) -> bool:
    said = subprocess.run(["dpkg-query", "-W", "-f", "${Status}", package], capture_output=True, text=True, check=False).stdout
    return said.endswith(" installed")


def _mirror() -> str:
    """Where apt gets Debian's packages from on this machine."""
    found = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(LABEL)", "Created-By: Packages", "Component: main"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    mirrors = [line.split()[0] for line in found.splitlines() if line.endswith(" Debian")]
    if not mirrors:
        raise RuntimeError(_HELP)
    return mirrors[0]


def _run(*command: str, folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{_HELP}\n{' '.join(command)}:\n{(done.stdout + done.stderr)[-2000:]}")
