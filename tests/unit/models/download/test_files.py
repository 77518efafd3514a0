import asyncio
import errno
import hashlib
import os
from pathlib import Path

import pytest
from tests.unit.models.file_server import Watched

from freehold.core.errors import ConfigError, DownloadError, OutOfSpace
from freehold.models.catalogue import File
from freehold.models.download import files

FILE = File("weights", 5, hashlib.sha256(b"hello").hexdigest())


def test_a_stamp_covers_a_file_until_it_changes(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"hello")
    assert not files.stamp(tmp_path).covers(tmp_path, "weights")
    files.record(tmp_path, FILE)
    assert files.stamp(tmp_path).covers(tmp_path, "weights")
    os.utime(tmp_path / "weights", ns=(1, 1))
    assert not files.stamp(tmp_path).covers(tmp_path, "weights")


def test_a_stamp_does_not_cover_a_file_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"hello")
    files.record(tmp_path, FILE)
    (tmp_path / "weights").unlink()
    assert not files.stamp(tmp_path).covers(tmp_path, "weights")


@pytest.mark.parametrize("text", ["", "not json", "[]", '{"unknown": 1}'])
def test_a_damaged_stamp_covers_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / ".verified.json").write_text(text)
    assert files.stamp(tmp_path).files == {}


@pytest.mark.parametrize(
    ("content", "file", "right"),
    [
        (b"hello", FILE, True),
        (b"hallo", FILE, False),
        (b"hello!", FILE, False),
        # `git hash-object` of these five bytes
        (b"hello", File("x", 5, git_sha1="b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0"), True),
        (b"hallo", File("x", 5, git_sha1="b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0"), False),
        (b"hello", File("x", 5), True),
        (b"hello", File("x"), False),  # nothing is known, so nothing is proved
    ],
)
async def test_content_is_told_by_size_and_hash(tmp_path: Path, content: bytes, file: File, right: bool) -> None:
    (tmp_path / "x").write_bytes(content)
    assert await files.verify(tmp_path / "x", file, Watched()) is right


def test_a_full_disk_is_noticed_before_a_download_and_says_how_much_is_missing(tmp_path: Path) -> None:
    with pytest.raises(OutOfSpace, match=r"the model needs 1000000000\.0 GB in .*, .* are free: .* GB are missing") as caught:
        files.require_space(tmp_path, 10**18, "the model")
    assert "FREEHOLD_CACHE" in (caught.value.hint or "")


def test_a_disk_that_becomes_full_is_named_as_that(tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(OutOfSpace, match="the disk became full while fetching the model"), files.writing("the model", tmp_path):
        os.write(full, b"x")
    os.close(full)


def test_other_failures_to_write_are_download_errors(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="Permission denied"), files.writing("the model", tmp_path):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))


def test_files_are_placed_inside_the_folder_only(tmp_path: Path) -> None:
    assert files.place(tmp_path, "sub/file.json") == tmp_path / "sub" / "file.json"
    with pytest.raises(ConfigError):
        files.place(tmp_path, "../file.json")


async def test_the_second_to_want_a_folder_waits_and_says_so(tmp_path: Path) -> None:
    order: list[str] = []
    first, second = Watched(), Watched()
    entered = asyncio.Event()
    leave = asyncio.Event()

    async def hold() -> None:
        async with files.locked(tmp_path, "the model", first):
            entered.set()
            await leave.wait()
            order.append("first")

    async def follow() -> None:
        await entered.wait()
        async with files.locked(tmp_path, "the model", second):
            order.append("second")

    async def release() -> None:
        while not second.said:
            await asyncio.sleep(0.01)
        leave.set()

    await asyncio.gather(hold(), follow(), release())
    assert order == ["first", "second"]
    assert second.said == ["waiting: another process is fetching the model"]
    assert first.said == []


@pytest.mark.parametrize(("size", "text"), [(1117320768, "1.1 GB"), (466247, "0.5 MB"), (98362432, "98.4 MB")])
def test_sizes_are_written_as_disks_are_labelled(size: int, text: str) -> None:
    assert files.gigabytes(size) == text
