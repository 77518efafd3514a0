"""Everything a project and Freehold need, resolved to exact versions with hashes; of wheels alone where that is possible."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from freehold.core.errors import ConfigError, DownloadError
from freehold.graphs.project import Project
from freehold.operate.build import tools
from freehold.operate.build.freehold_wheel import FreeholdWheel


@dataclass(frozen=True)
class Lock:
    """A requirements file with hashes. `wheels_only`: nothing in it has to be built."""

    text: str
    wheels_only: bool


async def resolve(project: Project | None, own: FreeholdWheel, *, python: str, universal: bool) -> Lock:
    """Resolve for one Python version, on every platform (`universal`) or on this one.

    Raises:
        DownloadError: the requirements contradict each other or the index does not answer; the resolver's words are the hint.
        ConfigError: `source` names a uv project that is not there.
    """
    with tempfile.TemporaryDirectory(prefix="freehold-lock-") as folder:
        wanted = Path(folder) / "requirements.in"
        wanted.write_text("\n".join([*own.needs, *(project.requirements if project else ())]) + "\n", encoding="utf-8")
        options = ["--python-version", python, *(["--universal"] if universal else [])]
        extra = {}
        if project:
            options += await _constraints(project, Path(folder))
            extra = {"UV_CONFIG_FILE": str(config)} if (config := project.folder / "uv.toml").is_file() else {}
        command = [*tools.uv(), "pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url"]
        failure = f"{project.file}: what the project needs cannot be resolved" if project else "what Freehold needs cannot be resolved"
        try:
            text = await tools.run([*command, *options, "--only-binary", ":all:", str(wanted)], failure, extra=extra)
        except DownloadError:  # something has no wheel: say so by building it, or fail with the resolver's words
            return Lock(await tools.run([*command, *options, str(wanted)], failure, extra=extra), wheels_only=False)
        return Lock(text, wheels_only=True)


async def _constraints(project: Project, folder: Path) -> list[str]:
    """A uv project's own lock decides versions, where `source` names one."""
    source = project.build.source
    if source is None:
        return []
    root = (project.folder / source.root).resolve()
    if not (root / "uv.lock").is_file():
        raise ConfigError(f'{project.file}: source.root: no uv.lock in "{source.root}"', hint="`uv lock` there writes it")
    command = [*tools.uv(), "export", "--frozen", "--quiet", "--no-hashes", "--no-emit-workspace", "--project", str(root)]
    text = await tools.run([*command, *(["--package", source.package] if source.package else [])], "uv.lock cannot be read")
    (folder / "constraints.txt").write_text(text, encoding="utf-8")
    return ["--constraint", str(folder / "constraints.txt")]
