"""The nouns of a deployment. Every target (native, and others later) renders these same values.

Texts in `args` and `env` may hold placeholders that only a target can fill:

    ${data:postgres}      folder of the volume "postgres"
    ${sockets:postgres}   private folder for the sockets of the service "postgres"
    ${secret:api_key}     value of a secret, filled when a process starts and never written to a rendered file
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


@dataclass(frozen=True)
class Health:
    """How one sees that a service does its work, or for a task, nothing: a task is done when it exits with 0."""

    probe: Probe
    #: http: a URL; postgres and valkey: the folder of the socket (a placeholder); ready: `${ready}`; alive: empty.
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
