"""What one has to know about each image to run it as nobody in particular, on a root file system that cannot be written to.

All of it is read in the images' own documentation and build files. The images themselves stand in `targets/versions.toml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from freehold.core.errors import NotSupported

#: With what a container asks itself over HTTP whether it is well; None: it has nothing to ask with, so others see it.
Asks = Literal["curl", "wget", "python3"]

#: Where our files, settings and the entrypoint lie in containers.
ETC = "/etc/freehold"
#: In the memory of a container: filled files, the sign that a worker takes work.
RUN = "/run/freehold"
#: Models and what else can be had again.
CACHE = "/var/cache/freehold"
#: Volumes of images that name no place for them.
DATA = "/data"

#: Owns nothing: for what sees folders of the host, where the secrets lie too.
NOBODY = (65534, 65534)

_HOME = {"HOME": "/tmp"}  # noqa: S108 - in the memory of a container of its own
_TMP = ("/tmp",)  # noqa: S108


@dataclass(frozen=True)
class Image:
    """Facts about the image of one program."""

    #: Start of the command line, the image's own entrypoint included.
    program: tuple[str, ...]
    #: Options that every container of it needs, before those of the service.
    options: tuple[str, ...] = ()
    #: Where the image wants its volume, and below it the folder that the program is told; None: anywhere.
    mount: str | None = None
    below: str = ""
    #: Where its sockets lie.
    sockets: str = RUN
    asks: Asks | None = None
    #: A command that tells whether it is well, where there is nothing to ask over HTTP with.
    tells: tuple[str, ...] = ()
    #: What runs our entrypoint there; None: nothing can, so no secret may be in its environment.
    interpreter: Literal["sh", "python"] | None = "sh"
    #: Whether its root file system can be read-only; folders it writes to are held in memory then.
    read_only: bool = True
    tmpfs: tuple[str, ...] = _TMP
    #: Variables it needs in a container, with placeholders.
    env: Mapping[str, str] = field(default_factory=dict)
    #: Where the service itself names no limit; processors: None for all there are.
    memory_mib: int = 512
    cpus: float | None = None
    processes: int = 256
    #: Folders of the host that it reads, e.g. to measure the machine, and where it sees them.
    host_folders: Mapping[str, str] = field(default_factory=dict)
    #: As whom it runs, where that is not the user of all the others.
    user: tuple[int, int] | None = None
    #: About what it takes on the disk, unpacked, in GB.
    disk_gb: float = 0.3


#: By `Service.program`.
IMAGES: Mapping[str, Image] = {
    "freehold": Image(("freehold",), asks="python3", memory_mib=2048, processes=512, env=_HOME, disk_gb=1),
    "python": Image(("python", "-P"), cpus=2, asks="python3", memory_mib=1024, env=_HOME, disk_gb=0),  # the same image
    "postgres": Image(
        ("docker-entrypoint.sh", "postgres"),
        # The image wants the parent mounted since version 18, so that `pg_upgrade --link` stays within one volume.
        mount="/var/lib/postgresql",
        below="18/docker",
        sockets="/var/run/postgresql",
        tmpfs=(*_TMP, "/var/run/postgresql"),
        env={
            "POSTGRES_PASSWORD_FILE": "${secret_file:postgres_superuser}",
            "POSTGRES_INITDB_ARGS": "--auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8",
        },
        memory_mib=1024,
        processes=1024,
        disk_gb=0.5,
    ),
    "valkey": Image(("valkey-server",), mount="/data", cpus=2),
    "llama-server": Image(("/app/llama-server",), asks="curl", env=_HOME, disk_gb=1),
    "vllm": Image(
        ("vllm",),
        asks="python3",
        # What it compiles at its start is loaded from there. A user without a name needs to be told one.
        tmpfs=("/tmp:exec",),  # noqa: S108
        env={**_HOME, "USER": "freehold"},
        processes=4096,
        disk_gb=25,
    ),
    "vllm-cpu": Image(
        ("vllm",),
        asks="python3",
        tmpfs=("/tmp:exec",),  # noqa: S108
        env={**_HOME, "USER": "freehold"},
        processes=1024,
        disk_gb=6,
    ),
    "nginx": Image(("nginx",), cpus=2, asks="curl"),
    "pgbouncer": Image(("pgbouncer",), cpus=1),
    "open-webui": Image(("python3", "-m", "uvicorn"), cpus=2, mount="/app/backend/data", asks="curl", env=_HOME, disk_gb=2),
    "prometheus": Image(("/bin/prometheus",), cpus=2, mount="/prometheus", asks="wget"),
    "alertmanager": Image(("/bin/alertmanager",), cpus=1, mount="/alertmanager", asks="wget"),
    "node-exporter": Image(
        ("/bin/node_exporter",),
        options=("--path.rootfs=/host",),
        asks="wget",
        host_folders={"/": "/host"},
        interpreter=None,
        cpus=1,
        user=NOBODY,
    ),
    "postgres-exporter": Image(("/bin/postgres_exporter",), cpus=1, asks="wget"),
    "valkey-exporter": Image(("/redis_exporter",), cpus=1, asks="wget"),
    "nginx-exporter": Image(("/usr/bin/nginx-prometheus-exporter",), cpus=1, interpreter=None),
    # It asks the driver through a part of its own that keeps files beside itself.
    "dcgm-exporter": Image(("/usr/bin/dcgm-exporter",), interpreter=None, read_only=False, disk_gb=1),
    "grafana": Image(("/run.sh",), cpus=1, mount="/var/lib/grafana", asks="wget", tmpfs=(*_TMP, "/var/log/grafana"), disk_gb=0.8),
    "phoenix": Image(("/usr/bin/python3",), cpus=2, asks="python3", interpreter="python", env=_HOME, disk_gb=1.5),
    "mlflow": Image(("mlflow",), cpus=2, asks="python3", env=_HOME, disk_gb=1.5),
    "weed": Image(("weed",), cpus=2, mount="/data", asks="wget"),
    "searxng": Image(("/usr/local/searxng/.venv/bin/granian",), cpus=1, asks="wget", tmpfs=(*_TMP, "/var/cache/searxng")),
    "ollama": Image(("/bin/ollama",), tells=("ollama", "list"), env=_HOME, disk_gb=5, processes=1024),
    "sglang": Image(
        ("python3", "-m", "sglang.launch_server"),
        asks="python3",
        tmpfs=("/tmp:exec",),  # noqa: S108
        env={**_HOME, "USER": "freehold"},
        processes=4096,
        disk_gb=25,
    ),
    # Made to run as anybody; it copies its migrations where it may write, and its database engine is a program of its own.
    "litellm": Image(
        ("litellm",),
        cpus=2,
        asks="python3",
        tmpfs=("/tmp:exec",),  # noqa: S108
        env={**_HOME, "LITELLM_MIGRATION_DIR": "/tmp/migrations"},  # noqa: S108
        processes=512,
        disk_gb=2,
    ),
}


def image(program: str) -> Image:
    """Facts of a program.

    Raises:
        NotSupported: it does not run in containers.
    """
    if program not in IMAGES:
        raise NotSupported(f"{program} does not run in containers", hint='leave it out of stack.services, or use stack.target = "native"')
    return IMAGES[program]
