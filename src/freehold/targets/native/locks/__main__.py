"""`python -m freehold.targets.native.locks [PROGRAM…]`: writes the locks anew from `wanted.toml` and the package index.

Asks for wheels alone: a source package would run code of its own to be built, with whatever that needs unlocked.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.markers import Marker
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

FOLDER = Path(__file__).parent

#: The oldest Python that Freehold runs on; what newer ones need besides is in the lock too.
_PYTHON = "3.11"
#: Platforms whose wheels are kept.
_PLATFORMS = ("any", "manylinux", "musllinux", "linux", "macosx")
_MACHINES = ("any", "x86_64", "aarch64", "arm64", "universal2")
#: What every package of such a lock needs; says nothing.
_ALWAYS = f"python_full_version >= '{_PYTHON}'"

_MANYLINUX = [*(f"manylinux_2_{minor}_x86_64" for minor in range(36, 4, -1)), "manylinux2014_x86_64", "linux_x86_64"]
#: Best first, for the size.
_TAGS = [*cpython_tags((3, 11), platforms=_MANYLINUX), *compatible_tags((3, 11), "cp311", [*_MANYLINUX, "any"])]
_RANK: Mapping[Tag, int] = {tag: rank for rank, tag in enumerate(_TAGS)}
_LINUX = {
    **{"python_version": "3.11", "python_full_version": "3.11.9", "sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"},
    **{"platform_machine": "x86_64", "implementation_name": "cpython", "platform_python_implementation": "CPython", "extra": ""},
}

Package = Mapping[str, Any]


def write(program: str, wanted: Mapping[str, list[str]]) -> None:
    """Ask the index and write `<program>.txt`."""
    packages = _resolve(wanted["requires"], wanted.get("without", []))
    total = sum(_size(package) for package in packages)
    lines = [
        f"# What {program} is installed from. Written by `python -m freehold.targets.native.locks {program}`; wanted.toml says why.",
        f"# {total} bytes to download on Linux x86-64 with Python {_PYTHON}.",
        *(line for package in packages for line in _requirement(package)),
    ]
    (FOLDER / f"{program}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.stdout.write(f"{program}: {len(packages)} packages, {total / 1e6:.0f} MB\n")


def _resolve(requires: list[str], without: list[str]) -> list[Package]:
    with tempfile.TemporaryDirectory(prefix="freehold-lock-") as folder:
        into, excluded, locked = (Path(folder) / name for name in ("requires.in", "without.in", "pylock.toml"))
        into.write_text("\n".join(requires), encoding="utf-8")
        excluded.write_text("\n".join(without), encoding="utf-8")
        uv = [str(Path(sys.executable).with_name("uv")), "pip", "compile", "--quiet", "--universal", "--python-version", _PYTHON]
        options = ["--only-binary", ":all:", "--format", "pylock.toml", "--excludes", str(excluded), "--output-file", str(locked)]
        subprocess.run([*uv, *options, str(into)], check=True)  # noqa: S603 - fixed program, our own file
        packages = tomllib.loads(locked.read_text(encoding="utf-8"))["packages"]
    return [package for package in packages if not _is_for_others(package)]


def _is_for_others(package: Package) -> bool:
    """Whether its marker leaves nothing but platforms that Freehold does not run on."""
    marker = package.get("marker")
    if marker is None:
        return False
    systems = [("linux", "Linux", "x86_64"), ("linux", "Linux", "aarch64"), ("darwin", "Darwin", "x86_64"), ("darwin", "Darwin", "arm64")]
    pythons = ["3.11.0", "3.11.9", "3.12.9", "3.13.9", "3.14.9"]
    return not any(
        Marker(marker).evaluate(
            {
                **_LINUX,
                **{"sys_platform": platform, "platform_system": system, "platform_machine": machine},
                **{"python_full_version": python, "python_version": python.rsplit(".", 1)[0]},
            }
        )
        for platform, system, machine in systems
        for python in pythons
    )


def _requirement(package: Package) -> Iterable[str]:
    marker = (package.get("marker") or "").replace(f"{_ALWAYS} and ", "").removeprefix(_ALWAYS)
    kept = sorted(wheel["hashes"]["sha256"] for wheel in package["wheels"] if _runs_here(_name(wheel)))
    assert kept, f"{package['name']} {package['version']} has no wheel for any of our platforms"
    parts = [f"{package['name']}=={package['version']}{f' ; {marker}' if marker else ''}", *(f"    --hash=sha256:{one}" for one in kept)]
    yield " \\\n".join(parts)


def _runs_here(wheel: str) -> bool:
    """Whether one of our platforms and Pythons takes this file."""
    for tag in parse_wheel_filename(wheel)[3]:
        interpreter = tag.interpreter.removeprefix("cp").removeprefix("py")
        old = tag.interpreter.startswith("cp3") and tag.abi != "abi3" and not ("311" <= interpreter <= "399" and len(interpreter) == 3)
        other = tag.interpreter.startswith(("pp", "graal")) or tag.abi.endswith("t")
        if not old and not other and tag.platform.startswith(_PLATFORMS) and tag.platform.endswith(_MACHINES):
            return True
    return False


def _size(package: Package) -> int:
    """Bytes of the wheel that Linux on x86-64 takes; 0 where it takes none."""
    if (marker := package.get("marker")) and not Marker(marker).evaluate(_LINUX):
        return 0
    ranked = [(min(ranks), wheel) for wheel in package["wheels"] if (ranks := _ranks(_name(wheel)))]
    return int(min(ranked, key=lambda pair: pair[0])[1].get("size", 0)) if ranked else 0


def _ranks(wheel: str) -> list[int]:
    return [_RANK[tag] for tag in parse_wheel_filename(wheel)[3] if tag in _RANK]


def _name(wheel: Mapping[str, Any]) -> str:
    return str(wheel.get("name") or unquote(urlsplit(wheel["url"]).path).rsplit("/", 1)[-1])


def main() -> None:
    """Entry of `python -m freehold.targets.native.locks`."""
    wanted = tomllib.loads((FOLDER / "wanted.toml").read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(prog="python -m freehold.targets.native.locks", description="Write the locks of optional services.")
    parser.add_argument("program", nargs="*", help=f"default: all ({', '.join(wanted)})")
    for program in parser.parse_args().program or wanted:
        write(program, wanted[program])


if __name__ == "__main__":
    main()
