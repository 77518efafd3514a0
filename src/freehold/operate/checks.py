"""Finds what would keep a stack from starting before anything starts: `freehold check`, and the first step of `up` in containers."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from freehold.config.settings import Settings
from freehold.core.errors import FreeholdError, Incompatible
from freehold.core.machine import GIB, Machine
from freehold.models import catalogue
from freehold.operate.doctor import Finding
from freehold.stack.plan import Stack, plan
from freehold.targets.compose import docker
from freehold.targets.compose.images import image
from freehold.targets.compose.write import MARKER
from freehold.targets.native import ports
from freehold.targets.versions import versions

#: What a database and logs grow by in the first days.
ROOM_GB = 5

_PINNED = re.compile(r":[\w.+-]*\d[\w.+-]*$")


async def examine_start(settings: Settings, machine: Machine, folder: Path) -> list[Finding]:
    """What a start would meet on this machine.

    Args:
        machine: this one, as it was found.
        folder: where the Compose folder lies, if there is one.
    """
    try:
        stack = plan(settings, machine, version=version("freehold"))
    except FreeholdError as error:
        return [Finding("plan", "fail", error.message, error.hint)]
    findings = [Finding("plan", "ok", f"{len(stack.services)} services: {', '.join(service.name for service in stack.ordered())}")]
    contained = settings.stack.target == "compose"
    if contained:
        findings += await _docker(stack)
        findings += _tags(stack)
    findings += list(_gpus(stack, machine))
    if not await _runs(folder, contained=contained):
        findings += list(_ports(stack, contained=contained))
    findings += await _names(settings)
    if contained:
        findings.append(_disk(stack, Path(await docker.data_folder() or "/")))
    return findings


async def refuse(settings: Settings, machine: Machine, folder: Path) -> None:
    """Raises:
    Incompatible: something would fail; all of it is said.
    """
    failed = [finding for finding in await examine_start(settings, machine, folder) if finding.level == "fail"]
    if failed:
        raise Incompatible(
            "; ".join(f"{finding.check}: {finding.message}" for finding in failed),
            hint="\n".join(finding.todo for finding in failed if finding.todo) or None,
        )


async def _docker(stack: Stack) -> list[Finding]:
    try:
        compose = await docker.version()
    except FreeholdError as error:
        return [Finding("docker", "fail", error.message, error.hint)]
    server = await docker.answers()
    if server is None:
        return [Finding("docker", "fail", "no Docker daemon answers", "start it (systemctl start docker), or let your user talk to it")]
    found = [Finding("docker", "ok", f"Docker {server}, Compose {compose}")]
    if any(service.gpus is not None for service in stack.services):
        found.append(await _toolkit())
    return found


async def _toolkit() -> Finding:
    if "nvidia" in await docker.runtimes():
        return Finding("container toolkit", "ok", "containers can be given NVIDIA GPUs")
    todo = "install nvidia-container-toolkit, then: nvidia-ctk runtime configure --runtime=docker && systemctl restart docker"
    return Finding("container toolkit", "fail", "Docker has no NVIDIA runtime, and the stack uses GPUs", todo)


def _gpus(stack: Stack, machine: Machine) -> Iterable[Finding]:
    """The plan made what fits the GPUs it was told; here they are compared with those that are there."""
    there = {gpu.index: gpu for gpu in machine.gpus}
    planned = {gpu.index: gpu for gpu in stack.machine.gpus}
    for service in stack.services:
        for index in service.gpus or ():
            if index not in there:
                yield Finding(
                    "gpu", "fail", f"{service.name} uses GPU {index}, which this machine has not", "correct [machine] or the model"
                )
            elif there[index].memory_bytes < 0.98 * planned[index].memory_bytes:
                has, wants = there[index].memory_bytes / GIB, planned[index].memory_bytes / GIB
                message = f"{service.name} was planned for {wants:.0f} GiB on GPU {index}, which has {has:.0f} GiB"
                yield Finding("gpu", "fail", message, "correct machine.gpus, or choose a smaller model")
            else:
                yield Finding("gpu", "ok", f"{service.name}: GPU {index}, {there[index].name}")


async def _runs(folder: Path, *, contained: bool) -> bool:
    """Its own containers hold its ports while it runs."""
    if not contained or not (folder / MARKER).exists():
        return False
    try:
        return any(container.state == "running" for container in await docker.containers(folder))
    except (FreeholdError, OSError):
        return False


def _ports(stack: Stack, *, contained: bool) -> Iterable[Finding]:
    for port in (port for service in stack.services for port in service.ports if port.published or not contained):
        try:
            ports.check([port])
        except FreeholdError as error:
            # Without containers each start may be told other ports.
            yield Finding("ports", "fail" if contained else "warn", error.message, error.hint)
        else:
            yield Finding("ports", "ok", f"{port.host}:{port.number} is free")


async def _names(settings: Settings) -> list[Finding]:
    """Names that certificates are asked for have to lead here."""
    edge = getattr(settings, "edge", None)
    return [await _name(name) for name in (edge.names if edge else ())]


async def _name(name: str) -> Finding:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError as error:
        return Finding(
            "dns", "warn", f"{name} is not known: {error.strerror or error}", "point it at this machine before a certificate is asked for"
        )
    addresses = ", ".join(sorted({str(entry[4][0]) for entry in found}))
    return Finding("dns", "ok", f"{name} leads to {addresses}")


def _tags(stack: Stack) -> list[Finding]:
    used = {service.program for service in stack.services} & versions().keys()
    references = {program: versions()[program].reference or "" for program in used}
    loose = [reference for reference in references.values() if reference.endswith(":latest") or not _PINNED.search(reference.split("@")[0])]
    if loose:
        return [Finding("images", "fail", f"not pinned to a version: {', '.join(sorted(loose))}", "name an exact tag in versions.toml")]
    without = sorted(program for program in used if not versions()[program].digest)
    note = f"; by tag, not by digest: {', '.join(without)}" if without else ""
    return [Finding("images", "ok", f"{len(used)} images, each of an exact version{note}")]


def _disk(stack: Stack, place: Path) -> Finding:
    images = sum(image(program).disk_gb for program in {service.program for service in stack.services})
    entries = {model.id: model for model in (*stack.models.values(), catalogue.find(stack.embedding_model))}
    models = sum((model.size or model.weights_bytes or 0) for model in entries.values()) / 1e9
    needed = images + models + ROOM_GB
    existing = next(folder for folder in (place, *place.parents) if folder.exists())
    free = shutil.disk_usage(existing).free / 1e9
    text = f"{free:.0f} GB free in {existing}; about {needed:.0f} GB are wanted (images {images:.0f}, models {models:.0f}, data {ROOM_GB})"
    if free < images + models:
        return Finding("disk", "fail", text, "make room, or move Docker's data folder to another disk")
    return Finding("disk", "warn" if free < needed else "ok", text)
