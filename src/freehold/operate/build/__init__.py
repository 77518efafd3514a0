"""Turn a project into something that is carried elsewhere: an image definition, or a folder of wheels that installs offline.

Both hold the project as a wheel of its own files (`wheel.py`, `sources.py`), Freehold's wheel (`freehold_wheel.py`) and a
lock of all else with hashes (`lock.py`). `image.py` and `bundle.py` say what is written around them.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from freehold.core.errors import ConfigError, NotSupported
from freehold.core.progress import Progress
from freehold.graphs.project import Project
from freehold.graphs.project_config import BuildConfig
from freehold.operate.build import bundle, freehold_wheel, image, lock, sources, wheel

#: What images are built for, where langgraph.json has no python_version.
DEFAULT_PYTHON = "3.12"


@dataclass(frozen=True)
class Built:
    """What lies where, and what whoever runs it has to set."""

    folder: Path
    python: str
    #: None: no project, the shipped agent alone.
    project_wheel: str | None
    #: Names of the variables that `env` of langgraph.json sets; their values are in nothing that is built.
    variables: tuple[str, ...]
    wheels_only: bool
    archive: Path | None = None


async def build_image(project: Project | None, folder: Path, progress: Progress, *, extra_authority: bytes | None = None) -> Built:
    """Write a build context: Dockerfile, .dockerignore, requirements.lock and wheels of Freehold and the project.

    Args:
        project: None for the agent that Freehold ships.
        extra_authority: certificates (PEM) that are trusted beside the public ones, while the image is built and by what runs in it.

    Raises:
        ConfigError: the project cannot be carried elsewhere; the message says what lies outside of it.
        NotSupported: a key asks for an image that cannot be made here.
        NotConfigured: uv is not there.
    """
    build = project.build if project else BuildConfig()
    python = build.python_version or DEFAULT_PYTHON
    if project:
        _refuse(project, python)
    base = image.base_image(build, python)
    _clear(folder)
    wheels = folder / "wheels"
    carried = None
    with progress.step("wheels of Freehold and of the project" if project else "wheel of Freehold"):
        own = await freehold_wheel.put(wheels)
        if project:
            carried = wheel.write(sources.collect(project, folder), wheels, requires=(own.requirement, *project.requirements))
    with progress.step("lock of all else"):
        locked = await lock.resolve(project, own, python=python, universal=True)
    agents_file = carried.agents_file if carried else None
    definition = image.Definition(base, python, build, agents_file, locked.wheels_only, extra_authority is not None)
    lines = (carried.line if carried else "") + own.line
    _write(folder, image.files(definition) | {"requirements.lock": locked.text, "requirements-wheels.lock": lines})
    if project and build.pip_config_file:
        shutil.copyfile(_inside(project, build.pip_config_file), folder / "pip.conf")
    if extra_authority is not None:
        (folder / "extra-ca.crt").write_bytes(extra_authority)
    variables = tuple(sorted(project.environment)) if project else ()
    return Built(folder, python, carried.name if carried else None, variables, locked.wheels_only)


async def build_bundle(project: Project, folder: Path, progress: Progress, *, archive: bool) -> Built:
    """Write a folder of wheels for this platform that installs without an index, and a tar of it where asked.

    Raises:
        ConfigError, NotSupported, NotConfigured: as `build_image`.
        DownloadError: a wheel could not be fetched or built.
    """
    python = project.build.python_version or bundle.running_python()
    _refuse(project, python)
    _clear(folder)
    wheels = folder / "wheels"
    with progress.step("wheels of Freehold and of the project"):
        own = await freehold_wheel.put(wheels)
        carried = wheel.write(sources.collect(project, folder), wheels, requires=(own.requirement, *project.requirements))
    with progress.step("lock of all else"):
        locked = await lock.resolve(project, own, python=python, universal=False)
    with progress.step("wheels of all else"):
        await bundle.fetch(locked, wheels, python)
    _write(folder, bundle.files(carried, python, sorted(project.environment)))
    (folder / "install.sh").chmod(0o755)
    bundle.write_sums(folder)
    packed = bundle.pack(folder) if archive else None
    return Built(folder, python, carried.name, tuple(sorted(project.environment)), locked.wheels_only, packed)


def _refuse(project: Project, python: str) -> None:
    outside = [entry for entry in project.dependencies if entry.startswith((".", "/")) and not _is_inside(project, entry)]
    outside += [
        graph.source for graph in project.graphs if isinstance(graph.target, Path) and not graph.target.is_relative_to(project.folder)
    ]
    if outside:
        raise ConfigError(
            f"{project.file}: {', '.join(outside)} lies outside of the project's folder, so it cannot be carried elsewhere",
            hint="move langgraph.json to the folder that holds both",
        )
    if unhashed := [entry for entry in project.requirements if "git+" in entry or entry.startswith(("http:", "https:", "file:", "-"))]:
        raise NotSupported(
            f"{project.file}: {', '.join(unhashed)} cannot be locked with a hash",
            hint="publish it as a package, or carry its sources in the project",
        )
    if project.build.api_version:
        raise NotSupported(
            f'{project.file}: "api_version" is not supported by build', hint=f"remove it; this Freehold runs on Python {python}"
        )


def _is_inside(project: Project, entry: str) -> bool:
    return (project.folder / entry).resolve().is_relative_to(project.folder)


def _inside(project: Project, entry: str) -> Path:
    path = (project.folder / entry).resolve()
    if not path.is_relative_to(project.folder) or not path.is_file():
        raise ConfigError(f'{project.file}: pip_config_file: no such file in the project: "{entry}"')
    return path


def _clear(folder: Path) -> None:
    """An earlier build makes room; a folder that holds anything else is left alone."""
    if folder.exists() and any(folder.iterdir()) and not (folder / "wheels").is_dir():
        raise ConfigError(f"{folder} holds something that is no build", hint="name another folder with --output")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "wheels").mkdir(parents=True)


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
