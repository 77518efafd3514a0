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


@dataclass(frozen=True)
class Image:
    """Facts about the image of one program."""

    #: Start of the command line, the image's own entrypoint included.
    program: tuple[str, ...]
    #: Where its volume lies, and below it the folder that the program is told.
    mount: str | None = None
    below: str = ""
    #: Where its sockets lie.
    sockets: str = RUN
    asks: Asks | None = None
    #: Whether it has /bin/sh, which our entrypoint takes.
    shell: bool = True
    #: Whether its root file system can be read-only; folders it writes to are held in memory then.
    read_only: bool = True
    tmpfs: tuple[str, ...] = ("/tmp",)  # noqa: S108 - in a container of its own
    #: Variables it needs in a container, with placeholders.
    env: Mapping[str, str] = field(default_factory=dict)
    #: Where the service itself names no limit.
    memory_mib: int = 512
    processes: int = 256
    #: Folders of the host that it reads, e.g. to measure the machine.
    host_folders: Mapping[str, str] = field(default_factory=dict)

    @property
    def data(self) -> str:
        return f"{self.mount}/{self.below}".rstrip("/")


#: By `Service.program`.
IMAGES: Mapping[str, Image] = {
    "freehold": Image(("freehold",), mount=CACHE, asks="python3", memory_mib=2048, processes=512, env={"HOME": "/tmp"}),  # noqa: S108
    "python": Image(("python", "-P"), asks="python3", memory_mib=1024, env={"HOME": "/tmp"}),  # noqa: S108
    "postgres": Image(
        ("docker-entrypoint.sh", "postgres"),
        # The image wants the parent mounted since version 18, so that `pg_upgrade --link` stays within one volume.
        mount="/var/lib/postgresql",
        below="18/docker",
        sockets="/var/run/postgresql",
        tmpfs=("/tmp", "/var/run/postgresql"),  # noqa: S108
        env={
            "POSTGRES_PASSWORD_FILE": "${secret_file:postgres_superuser}",
            "POSTGRES_INITDB_ARGS": "--auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8",
        },
        memory_mib=1024,
        processes=1024,
    ),
    "valkey": Image(("valkey-server",), mount="/data"),
    "llama-server": Image(("/app/llama-server",), asks="curl", env={"HOME": "/tmp"}),  # noqa: S108
    "vllm": Image(
        ("vllm",),
        asks="python3",
        # What it compiles at its start is loaded from there. A user without a name needs to be told one.
        tmpfs=("/tmp:exec",),  # noqa: S108
        env={"HOME": "/tmp", "USER": "freehold"},  # noqa: S108
        processes=4096,
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
