"""From what a stack is and where it lies to units of systemd. Pure, so golden files can hold it to what it was.

NAME.service                the stack
NAME-backup.service .timer        where backups are wanted
NAME-prune.service .timer         where old checkpoints are to go
NAME-certificate.service .timer   where the edge's certificate is renewed
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

#: What all of its own ends together may take beside its slowest chain of services.
_SPARE_SECONDS = 30
#: Of the machine's memory: what is left keeps it reachable while something leaks.
_MEMORY_MAX = "90%"


@dataclass(frozen=True)
class Job:
    """Something that a timer does: `name` says what, e.g. "backup"; `command` are arguments of `freehold`."""

    name: str
    about: str
    command: tuple[str, ...]
    #: As systemd writes times, e.g. "daily".
    when: str = "daily"
    #: A folder that it writes to, beside those of the stack.
    writes: Path | None = None


@dataclass(frozen=True)
class Place:
    """Where a stack lies and as whom it runs."""

    #: Of the stack; its units are called so.
    name: str
    #: Start of every command line of ours, e.g. `("/opt/freehold/bin/freehold",)`.
    command: tuple[str, ...]
    #: Working directory, where freehold.toml and the agents lie.
    project: Path
    #: State folder.
    home: Path
    cache: Path
    config: Path | None = None
    #: Whose service it is; None: a unit of the user's own manager.
    user: str | None = None
    #: Root starts Postgres as another user and keeps its data in a folder of the system.
    system_folder: Path | None = None
    #: Longest chain of orderly ends, in seconds.
    stop_seconds: float = 60
    #: It listens on a port below 1024.
    low_ports: bool = False
    #: It uses a GPU, so devices must be seen.
    gpus: bool = False
    jobs: tuple[Job, ...] = ()
    #: A folder that `docker compose` runs; None: a native stack.
    compose: Path | None = None


def render(place: Place) -> dict[str, str]:
    """File name -> text."""
    unit = _compose(place) if place.compose else _native(place)
    found = {f"{place.name}.service": unit}
    for job in place.jobs:
        found[f"{place.name}-{job.name}.service"] = _job(place, job)
        found[f"{place.name}-{job.name}.timer"] = _timer(place, job)
    return found


def _native(place: Place) -> str:
    service = {
        "Type": "notify",
        "NotifyAccess": "main",
        **_whose(place),
        "ExecStart": _command(place, "up", "--yes", *_config(place)),
        # A first start fetches models; `up` itself gives up on what does not become well.
        "TimeoutStartSec": "infinity",
        "TimeoutStopSec": f"{round(place.stop_seconds + _SPARE_SECONDS)}",
        # The signal goes to `up`, which ends all in order; what is left after the time above is killed.
        "KillMode": "mixed",
        "Restart": "on-failure",
        "RestartSec": "5",
        # Wrong settings and versions are not mended by another try.
        "RestartPreventExitStatus": "2 3 4 6",
        # A worker that takes too much is ended by the kernel and started again by the stack; the others go on.
        "OOMPolicy": "continue",
        "MemoryMax": _MEMORY_MAX,
        "LimitNOFILE": "65536",
        "TasksMax": "8192",
    }
    return _text(
        f"Freehold stack {place.name}",
        {"StartLimitIntervalSec": "600", "StartLimitBurst": "5", **_network(place)},
        _lines(service) + _hardening(place),
        install=_target(place),
    )


def _compose(place: Place) -> str:
    assert place.compose is not None
    service = {
        "Type": "oneshot",
        "RemainAfterExit": "yes",
        "WorkingDirectory": _percent(str(place.compose)),
        **({"User": place.user} if place.user and place.user != "root" else {}),
        "ExecStart": _quoted(("/usr/bin/docker", "compose", "up", "--detach", "--remove-orphans", "--wait")),
        "ExecReload": _quoted(("/usr/bin/docker", "compose", "up", "--detach", "--remove-orphans", "--wait")),
        "ExecStop": _quoted(("/usr/bin/docker", "compose", "down")),
        "TimeoutStartSec": "infinity",
        "TimeoutStopSec": f"{round(place.stop_seconds + _SPARE_SECONDS)}",
    }
    needs = {} if place.user is None else {"Requires": "docker.service", "After": "docker.service network-online.target"}
    return _text(
        f"Freehold stack {place.name}, in containers",
        {**needs, **({"Wants": "network-online.target"} if needs else {})},
        _lines(service),
        install=_target(place),
    )


def _job(place: Place, job: Job) -> str:
    service = {"Type": "oneshot", **_whose(place), "ExecStart": _command(place, *job.command), "Nice": "10", "IOSchedulingClass": "idle"}
    return _text(
        f"Freehold stack {place.name}: {job.about}",
        {"After": f"{place.name}.service", "Requisite": f"{place.name}.service"},
        _lines(service) + _hardening(place, job.writes),
    )


def _timer(place: Place, job: Job) -> str:
    timer = {"OnCalendar": job.when, "RandomizedDelaySec": "1h", "Persistent": "true"}
    return "\n".join(
        [
            *_head(),
            "[Unit]",
            f"Description=Freehold stack {place.name}: {job.about}, {job.when}",
            "",
            "[Timer]",
            *_lines(timer),
            "",
            "[Install]",
            "WantedBy=timers.target",
            "",
        ]
    )


def _whose(place: Place) -> Mapping[str, str]:
    """Who runs it, where, and with what in its environment."""
    return {
        **({"User": place.user} if place.user else {}),
        "WorkingDirectory": _percent(str(place.project)),
        "Environment": _quoted((f"FREEHOLD_HOME={place.home}", f"FREEHOLD_CACHE={place.cache}")),
        # Keys of your own, e.g. HF_TOKEN=…; a file of mode 0600. Nothing else of a shell's environment is there.
        "EnvironmentFile": "-" + _percent(str(place.project / "freehold.env")),
        "UMask": "0077",
    }


def _hardening(place: Place, more: Path | None = None) -> list[str]:
    """What a stack never needs. A user's own manager can forbid little; it has no more rights than the user."""
    if place.user is None:
        return _lines({"NoNewPrivileges": "yes", "LockPersonality": "yes"})
    writable = [folder for folder in (place.home, place.cache, place.system_folder, more) if folder]
    return [
        "",
        "# /tmp is not private: sockets lie there in a folder of mode 0700, where `freehold status` in a shell finds them.",
        "# Agents that write elsewhere need a line more: ReadWritePaths=…",
        *_lines(
            {
                "NoNewPrivileges": "yes",
                **_capabilities(place),
                "ProtectSystem": "strict",
                "ProtectHome": "read-only",
                "ReadWritePaths": _quoted([*(f"-{folder}" for folder in writable), "/tmp"]),  # noqa: S108 - the path of every machine's
                **({} if place.gpus else {"PrivateDevices": "yes"}),
                "ProtectKernelTunables": "yes",
                "ProtectKernelModules": "yes",
                "ProtectKernelLogs": "yes",
                "ProtectControlGroups": "yes",
                "ProtectClock": "yes",
                "ProtectHostname": "yes",
                "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6 AF_NETLINK",
                "RestrictNamespaces": "yes",
                "RestrictRealtime": "yes",
                "RestrictSUIDSGID": "yes",
                "LockPersonality": "yes",
                "SystemCallArchitectures": "native",
            }
        ),
    ]


def _capabilities(place: Place) -> Mapping[str, str]:
    if place.user == "root":  # it makes Postgres' folder and becomes its user
        return {"CapabilityBoundingSet": "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_KILL CAP_NET_BIND_SERVICE CAP_SETGID CAP_SETUID"}
    if place.low_ports:
        return {"CapabilityBoundingSet": "CAP_NET_BIND_SERVICE", "AmbientCapabilities": "CAP_NET_BIND_SERVICE"}
    return {"CapabilityBoundingSet": ""}


def _network(place: Place) -> Mapping[str, str]:
    return {} if place.user is None else {"Wants": "network-online.target", "After": "network-online.target"}


def _target(place: Place) -> str:
    return "default.target" if place.user is None else "multi-user.target"


def _config(place: Place) -> tuple[str, ...]:
    return ("--config", str(place.config)) if place.config else ()


def _command(place: Place, *arguments: str) -> str:
    return _quoted((*place.command, *arguments))


def _text(about: str, unit: Mapping[str, str], service: list[str], *, install: str | None = None) -> str:
    installed = ["", "[Install]", f"WantedBy={install}"] if install else []
    return "\n".join([*_head(), "[Unit]", f"Description={about}", *_lines(unit), "", "[Service]", *service, *installed, ""])


def _head() -> list[str]:
    return ["# Written by `freehold render systemd`. Changes of your own go into a drop-in: systemctl edit UNIT", ""]


def _lines(values: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in values.items()]


def _percent(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(words: Iterable[str]) -> str:
    """Words as systemd splits them: `%` begins a specifier and `$` a variable, quotes keep spaces together."""
    return " ".join(_word(word) for word in words)


def _word(word: str) -> str:
    escaped = _percent(word).replace("\\", "\\\\").replace("$", "$$")
    return escaped if re.fullmatch(r"[A-Za-z0-9_@%+=:,./$-]+", escaped) else '"' + escaped.replace('"', '\\"') + '"'
