"""From a stack and a layout to exact command lines. Pure, so golden files can hold it to what it was."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from freehold.config.model import processors
from freehold.stack.plan import Stack
from freehold.stack.service import Service
from freehold.targets.native.layout import Layout
from freehold.targets.native.process import Once, Process, Rendered, TextFile

_PLACEHOLDER = re.compile(r"\$\{(?!secret:)([a-z_]+)(?::([a-z0-9_-]+)(?:\.([a-z_-]+))?)?\}")


class _Missing(Exception):
    """A placeholder that nothing fills."""


def render(stack: Stack, layout: Layout, *, version: str) -> Rendered:
    """Every process of the stack, in an order in which they can be started."""
    services = stack.ordered()
    names = {service.name: tuple(_replicas(service)) for service in services}
    processes = [
        _expand(_process(service, names, layout, _Filler(stack, layout, service, name)), service, layout)
        for service in services
        for name in names[service.name]
    ]
    return Rendered(stack.name, version, stack.fingerprint, stack.server_url, tuple(processes))


@dataclass(frozen=True)
class _Filler:
    """Puts into texts of one process what this target knows."""

    stack: Stack
    layout: Layout
    service: Service
    process: str

    def fill(self, text: str) -> str:
        """Raises:
        _Missing: nothing fills one of its placeholders.
        """
        return _PLACEHOLDER.sub(lambda match: self._value(match[1], match[2], match[3]), text)

    def _value(self, kind: str, name: str | None, port: str | None) -> str:
        if name:
            return self._of(kind, name, port)
        layout = self.layout
        value = {
            "home": layout.home,
            "project": layout.project,
            "config": layout.config,
            "model": layout.models.get(self.service.name),
            "files": layout.files(self.service.name),
            "ready": layout.ready_file(self.process),
            "listen": self.service.ports[0].host if self.service.ports else "",
        }[kind]
        if value is None:
            raise _Missing(kind)
        return str(value)

    def _of(self, kind: str, name: str, port: str | None) -> str:
        if kind == "secret_file":
            return str(self.layout.secret_file(name))
        place = self.layout.place(name)
        if kind in ("data", "sockets"):
            return str({"data": place.data, "sockets": place.sockets}[kind])
        service = self.stack.service(name)
        if service is None:
            raise _Missing(name)
        if kind == "host" and not service.ports:
            return str(place.sockets)
        reached = service.port(port)
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(reached.host, reached.host)  # noqa: S104 - mapping, not binding
        in_url = f"[{host}]" if ":" in host else host
        return {"host": host, "port": str(reached.number), "address": f"{in_url}:{reached.number}"}[kind]


def _process(service: Service, names: Mapping[str, tuple[str, ...]], layout: Layout, filler: _Filler) -> Process:
    place = layout.place(service.name)
    data = tuple(str(layout.place(volume.name).data) for volume in service.volumes)
    return Process(
        name=filler.process,
        service=service.name,
        kind=service.kind,
        about=service.about,
        argv=(*layout.programs[service.program], *(filler.fill(part) for part in service.args)),
        env={**_environment(service, filler), "FREEHOLD_IDENTITY": layout.identity},
        environment=service.environment,
        cwd=str(layout.project) if service.environment == "user" else "/",
        folders=(*((str(place.sockets), *data) if data else ()), *((str(layout.files(service.name)),) if service.files else ())),
        files=tuple(TextFile(str(layout.files(service.name) / file.name), filler.fill(file.text)) for file in service.files),
        health=replace(service.health, target=filler.fill(service.health.target)) if service.health else None,
        needs=tuple(need for service_name in service.needs for need in names[service_name]),
        restarts=service.restarts,
        stop_signal=service.stop_signal,
        grace_seconds=service.grace_seconds,
        ports=service.ports,
        user=place.user,
        cpus=processors(service.cpus) if service.cpus else (),
    )


def _replicas(service: Service) -> Iterable[str]:
    return [service.name] if service.replicas == 1 else [f"{service.name}-{number}" for number in range(1, service.replicas + 1)]


def _environment(service: Service, filler: _Filler) -> dict[str, str]:
    """A variable whose placeholder nothing fills is left out."""
    seen = {"CUDA_VISIBLE_DEVICES": ",".join(map(str, service.gpus))} if service.gpus else {}
    filled = dict(seen)
    for name, text in sorted(service.env.items()):
        try:
            filled[name] = filler.fill(text)
        except _Missing:
            continue
    return filled


def _postgres(process: Process, layout: Layout) -> Process:
    """A cluster is made by initdb before the first start; who may connect is written anew at every start."""
    data = layout.place("postgres").data
    access, partial = f"{data}.access", f"{data}.new"
    initdb = ("-D", partial, "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--auth=peer", "--no-instructions")
    mapped = "".join(f'freehold "{name}" postgres\n' for name in layout.administrators)
    return replace(
        process,
        folders=(*(folder for folder in process.folders if folder != str(data)), access),
        files=(
            TextFile(f"{access}/pg_hba.conf", "local all postgres peer map=freehold\nlocal all all scram-sha-256\n"),
            TextFile(f"{access}/pg_ident.conf", mapped),
        ),
        once=Once((*layout.programs["initdb"], *initdb), builds=partial, produces=str(data)),
    )


def _pgbouncer(process: Process, layout: Layout) -> Process:
    """Started by root it reads its passwords as root, and then becomes the user that Postgres runs as."""
    if process.user is None:
        return process
    program, *args = process.argv
    return replace(process, user=None, argv=(program, "-u", process.user.name, *args))


#: What a program needs on this target beyond its command line.
_EXPANSIONS: Mapping[str, Callable[[Process, Layout], Process]] = {"postgres": _postgres, "pgbouncer": _pgbouncer}


def _expand(process: Process, service: Service, layout: Layout) -> Process:
    expansion = _EXPANSIONS.get(service.program)
    return expansion(process, layout) if expansion else process
