"""From a stack and a layout to exact command lines. Pure, so golden files can hold it to what it was."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from freehold.stack.plan import Stack
from freehold.stack.service import Health, Service
from freehold.targets.native.layout import Layout
from freehold.targets.native.process import Once, Process, Rendered, TextFile

_PLACEHOLDER = re.compile(r"\$\{(?!secret:)([a-z_]+)(?::([a-z_-]+))?\}")


class _Missing(Exception):
    """A placeholder that nothing fills."""


def render(stack: Stack, layout: Layout, *, version: str) -> Rendered:
    """Every process of the stack, in an order in which they can be started."""
    services = stack.ordered()
    names = {service.name: tuple(_replicas(service)) for service in services}
    processes = [_expand(_process(service, name, names, layout), service, layout) for service in services for name in names[service.name]]
    return Rendered(stack.name, version, stack.fingerprint, stack.server_url, tuple(processes))


def _process(service: Service, name: str, names: Mapping[str, tuple[str, ...]], layout: Layout) -> Process:
    place = layout.place(service.name)
    data = tuple(str(layout.place(volume.name).data) for volume in service.volumes)
    return Process(
        name=name,
        service=service.name,
        kind=service.kind,
        about=service.about,
        argv=(*layout.programs[service.program], *(_fill(part, name, layout) for part in service.args)),
        env={**_environment(service.env, name, layout), "FREEHOLD_IDENTITY": layout.identity},
        environment=service.environment,
        cwd=str(layout.project) if service.environment == "user" else "/",
        folders=(str(place.sockets), *data) if data else (),
        health=_health(service.health, name, layout),
        needs=tuple(need for service_name in service.needs for need in names[service_name]),
        restarts=service.restarts,
        stop_signal=service.stop_signal,
        grace_seconds=service.grace_seconds,
        ports=service.ports,
        user=place.user,
    )


def _replicas(service: Service) -> Iterable[str]:
    return [service.name] if service.replicas == 1 else [f"{service.name}-{number}" for number in range(1, service.replicas + 1)]


def _environment(env: Mapping[str, str], process: str, layout: Layout) -> dict[str, str]:
    filled = {}
    for name, text in sorted(env.items()):
        try:
            filled[name] = _fill(text, process, layout)
        except _Missing:
            continue
    return filled


def _health(health: Health | None, process: str, layout: Layout) -> Health | None:
    return replace(health, target=_fill(health.target, process, layout)) if health else None


def _fill(text: str, process: str, layout: Layout) -> str:
    return _PLACEHOLDER.sub(lambda match: _value(match[1], match[2], process, layout), text)


def _value(kind: str, name: str | None, process: str, layout: Layout) -> str:
    if name:
        place = layout.place(name)
        return str({"data": place.data, "sockets": place.sockets}[kind])
    if kind == "ready":
        return str(layout.ready_file(process))
    value = {"home": layout.home, "project": layout.project, "config": layout.config, "model": layout.model}[kind]
    if value is None:
        raise _Missing(kind)
    return str(value)


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


#: What a program needs on this target beyond its command line.
_EXPANSIONS: Mapping[str, Callable[[Process, Layout], Process]] = {"postgres": _postgres}


def _expand(process: Process, service: Service, layout: Layout) -> Process:
    expansion = _EXPANSIONS.get(service.program)
    return expansion(process, layout) if expansion else process
