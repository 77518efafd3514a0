"""The nouns of a deployment. Every target (native, and others later) renders these same values.

Texts in `args` and `env` may hold placeholders that only a target can fill:

    ${data:postgres}      folder of the volume "postgres"
    ${sockets:postgres}   private folder for the sockets of the service "postgres"
    ${host:model}         where others reach a service: a host, or the folder of its socket where it has no port
    ${port:model} ${address:model} ${address:model.metrics}     its first port, `host:port` of it, `host:port` of the port "metrics"
    ${listen}             address that this service binds: its port's own on one machine, every one inside a container
    ${files}              folder of this service's `files`
    ${secret:api_key}     value of a secret, filled when a process starts and never written to a rendered file
    ${secret_file:api_key}   path of a file with that value, for programs that read one
    ${home} ${config} ${model} ${project}   state folder, freehold.toml, model file or folder, working directory
    ${model_template}     chat template that comes with the model
    ${ready}              file that this very process writes once it takes work; each replica has its own

A value whose placeholder has nothing to fill it (no freehold.toml, for instance) is left out together with its variable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["server", "task"]
Probe = Literal["http", "postgres", "valkey", "ready", "alive"]
#: Who may speak to whom where a target can keep services apart. apps: what people use, behind the edge. data: stores. models: model
#: servers. observe: what is measured and by whom. out: the way to the internet. On one machine without containers all is loopback.
Network = Literal["apps", "data", "models", "observe", "out"]
Environment = Literal["minimal", "user"]


@dataclass(frozen=True)
class Port:
    """A TCP port that a service listens on."""

    number: int
    #: Address it binds, e.g. `127.0.0.1`.
    host: str
    #: Key of freehold.toml that changes it, e.g. `server.port`.
    setting: str
    #: Command line option of `up` that changes it, where there is one, e.g. `--port`.
    option: str | None = None
    #: Tells the ports of one service apart, e.g. "http", "metrics".
    name: str = "http"
    #: Whether people outside reach it where services live in networks of their own; on one machine `host` alone decides.
    published: bool = False


@dataclass(frozen=True)
class Volume:
    """Data that outlives the processes. `about` is what a person loses with it."""

    name: str
    about: str


@dataclass(frozen=True)
class Secret:
    """A secret by name; its value exists only in the target's secret store."""

    name: str
    #: "generated" at first start, or "given" by the user's settings.
    source: Literal["generated", "given"]
    about: str
    #: It counts at the first start alone (a first password), or what was stored with it cannot be read with another (a key that
    #: encrypts), so `freehold secrets rotate` leaves it as it is.
    lasting: bool = False
    #: Path on this machine of the user's own file that holds its value; None: the settings do.
    file: str | None = None


@dataclass(frozen=True)
class File:
    """A file that a service reads: name under `${files}`, e.g. "nginx.conf", and text with placeholders.

    One with `${secret:…}` in it is filled when the service starts, and readable by that service alone; in containers it lies in memory.
    """

    name: str
    text: str


@dataclass(frozen=True)
class Metrics:
    """Where a service shows Prometheus metrics."""

    #: Name of the port.
    port: str = "http"
    path: str = "/metrics"
    #: Name of the secret that is sent as a bearer token, where one is needed.
    key: str | None = None


@dataclass(frozen=True)
class Limits:
    """What a service may use up at most, where a target can enforce it."""

    memory_bytes: int
    cpus: float | None = None
    #: Memory that its processes share by files (`/dev/shm`); None: as little as the target gives.
    shared_memory_bytes: int | None = None


@dataclass(frozen=True)
class Health:
    """How one sees that a service does its work, or for a task, nothing: a task is done when it exits with 0."""

    probe: Probe
    #: http: a URL; postgres: the folder of its socket, the socket itself, or an address; valkey: its socket or address; ready: `${ready}`;
    #: alive: empty.
    target: str = ""
    interval_seconds: float = 5.0
    #: How long the first success may take before the start counts as failed.
    start_seconds: float = 60.0
    #: Failures in a row that make a healthy service unhealthy.
    failures: int = 3


@dataclass(frozen=True)
class Service:
    """One program of the stack."""

    name: str
    #: What is being run, in abstract: "postgres", "valkey", "llama-server", "vllm", "freehold", "python".
    program: str
    args: tuple[str, ...] = ()
    kind: Kind = "server"
    env: Mapping[str, str] = field(default_factory=dict)
    #: "minimal": PATH, language, accelerator settings. "user": all that the user set, because agents read their keys there.
    environment: Environment = "minimal"
    ports: tuple[Port, ...] = ()
    volumes: tuple[Volume, ...] = ()
    health: Health | None = None
    #: Services that must be healthy, or tasks that must be done, before this one starts.
    needs: tuple[str, ...] = ()
    #: A server that ends by itself is started again.
    restarts: bool = True
    #: Signal for an orderly end.
    stop_signal: Literal["SIGTERM", "SIGINT"] = "SIGTERM"
    #: Seconds an orderly end may take before SIGKILL.
    grace_seconds: float = 10.0
    replicas: int = 1
    #: One line for `status` and for messages.
    about: str = ""
    files: tuple[File, ...] = ()
    #: Secrets of its own, beside those of the stack and the password of its `database`.
    secrets: tuple[Secret, ...] = ()
    metrics: Metrics | None = None
    networks: tuple[Network, ...] = ()
    limits: Limits | None = None
    #: Indices of the GPUs it may see; None: it needs none.
    gpus: tuple[int, ...] | None = None
    #: Processors it is pinned to, as Linux writes them, e.g. "0-3"; None: any.
    cpus: str | None = None
    #: Its own database in the stack's Postgres, made before it starts, with a role of the same name; None: it has none.
    database: str | None = None
    #: Whether the user's agents are loaded in it, so that it gets the variables of their project.
    runs_agents: bool = False

    def port(self, name: str | None = None) -> Port:
        """Its port of that name, else its first.

        Raises:
            KeyError: it has none.
        """
        for port in self.ports:
            if name is None or port.name == name:
                return port
        raise KeyError(f"{self.name} has no port {name or ''}".rstrip())
