"""A project as a Compose folder: its image definition, its settings without secrets, and the stack rendered around them."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from pydantic import SecretStr

from freehold.config import env
from freehold.config.settings import Settings
from freehold.config.write import without_secrets
from freehold.core.errors import ConfigError
from freehold.core.machine import Machine
from freehold.core.progress import Progress
from freehold.graphs.project import Project, project_of, read_project
from freehold.models import download
from freehold.operate.build import build_image
from freehold.stack.deployment import within_containers
from freehold.stack.plan import Stack, given_secrets, plan
from freehold.stack.service import Secret
from freehold.stack.services import fetch
from freehold.targets.compose import render, write
from freehold.targets.compose.images import CACHE

#: Keys that mean nothing to the programs inside.
_OUTSIDE = frozenset({"machine", "agents.config"})


@dataclass(frozen=True)
class Written:
    """A Compose folder."""

    folder: Path
    stack: Stack
    #: Secrets that were made just now.
    made: tuple[str, ...]
    #: Image of our own programs.
    image: str


def for_containers(settings: Settings) -> Settings:
    """The settings, with Compose as their target whatever they say."""
    return settings.model_copy(update={"stack": settings.stack.model_copy(update={"target": "compose"})})


async def write_folder(
    settings: Settings, machine: Machine, folder: Path, progress: Progress, *, image: str | None = None, extra_ca: Path | None = None
) -> Written:
    """Write a Compose folder, or bring one to what the settings say now; its secrets stay.

    Args:
        image: one that holds Freehold and the project already; then none is built.
        extra_ca: certificate of a proxy that re-signs TLS, trusted while the image is built and by what runs in it.

    Raises:
        ConfigError: the folder holds something else, or settings that cannot be.
        NotConfigured, DownloadError, NotSupported: the image definition cannot be made.
    """
    settings = for_containers(settings)
    stack = _with_hub(plan(settings, machine, version=version("freehold")))
    file = project_of(settings)
    project = read_project(file) if file else None
    write.claim(folder)
    name = image or await _define_image(project, folder / "agent", stack.name, progress, extra_ca)
    made = write.write(folder, stack, described(settings, stack, project, image=name, builds=image is None), _given(settings, project))
    return Written(folder, stack, tuple(made), name)


def _with_hub(stack: Stack) -> Stack:
    """What fetches models asks the hub that this machine asks, with its token where it has one."""
    told = {"HF_ENDPOINT": endpoint} if (endpoint := env.get("HF_ENDPOINT")) else {}
    token = (Secret("hf_token", "given", "token of the model hub"),) if env.get("HF_TOKEN") else ()
    if token:
        told |= {"HF_TOKEN": "${secret:hf_token}"}
    services = [
        replace(service, env={**service.env, **told}, secrets=(*service.secrets, *token)) if service.name == fetch.NAME else service
        for service in stack.services
    ]
    return replace(stack, services=tuple(services), secrets=(*stack.secrets, *token))


def described(settings: Settings, stack: Stack, project: Project | None, *, image: str, builds: bool) -> render.Project:
    """What the renderer has to know beside the stack."""
    own = {name: str(model.path.absolute()) for name, model in stack.models.items() if model.path}
    return render.Project(
        image=image,
        user=write.owner(),
        builds=builds,
        settings=without_secrets(within_containers(for_containers(settings)), leave_out=_OUTSIDE),
        models={
            name: f"/models/{model.path.name}" if model.path else str(download.location(model, Path(CACHE)))
            for name, model in stack.models.items()
        },
        own_models=own,
        has_variables=bool(project and project.environment),
        version=version("freehold"),
    )


async def _define_image(project: Project | None, folder: Path, stack: str, progress: Progress, extra_ca: Path | None) -> str:
    """Its tag changes with what is in it, so that `docker compose up` builds it anew then, and only then."""
    await build_image(project, folder, progress, extra_authority=_read(extra_ca) if extra_ca else None)
    public = re.sub(r"[^A-Za-z0-9_.-]", "-", version("freehold"))
    return f"{stack}-agent:{public}-{_digest(folder)}"


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(str(path.relative_to(folder)).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _read(certificate: Path) -> bytes:
    try:
        return certificate.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{certificate} cannot be read: {error.strerror}", hint="--extra-ca names a file with certificates (PEM)"
        ) from error


def _shell_variables(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    for name in environment:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ConfigError(f"env of langgraph.json: {name!r} is no name of a variable", hint="letters, digits and _ only")
    return sorted(environment.items())


def _given(settings: Settings, project: Project | None) -> Mapping[str, SecretStr]:
    """Secrets that users gave; the variables of their agents as a file that a shell reads."""
    given = dict(given_secrets(settings))
    if token := env.get("HF_TOKEN"):
        given["hf_token"] = SecretStr(token)
    if project and project.environment:
        # What the stack sets wins, as it does without containers: a project's DATABASE_URL must not lead the server elsewhere.
        lines = [f'[ -n "${{{name}+x}}" ] || export {name}={shlex.quote(value)}' for name, value in _shell_variables(project.environment)]
        given[render.AGENT_ENV] = SecretStr("\n".join(lines))
    return given
