import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from freehold.core.errors import DownloadError
from freehold.targets.native.engines import archive


def tar(path: Path, *members: tuple[str, bytes] | tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as packed:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                packed.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size, info.mode = len(member[1]), 0o755
                packed.addfile(info, io.BytesIO(member[1]))
    return path


def link(name: str, to: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


@pytest.fixture(params=["the standard library's filter", "ours for older Pythons"])
def either_filter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param.startswith("ours"):
        monkeypatch.setattr(archive, "_FILTER", archive._inside)


@pytest.mark.usefixtures("either_filter")
def test_the_top_folder_is_left_out(tmp_path: Path) -> None:
    packed = tar(tmp_path / "a.tar.gz", ("demo-1.0/bin/run", b"#!"), link("demo-1.0/bin/alias", "run"))
    archive.extract(packed, tmp_path / "out")
    assert (tmp_path / "out" / "bin" / "alias").read_bytes() == b"#!"
    assert (tmp_path / "out" / "bin" / "run").stat().st_mode & 0o111


def test_only_one_folder_of_the_archive_may_be_wanted(tmp_path: Path) -> None:
    packed = tar(tmp_path / "a.tar.gz", ("demo-1.0/setup.py", b"wrapper"), ("demo-1.0/inner/main.c", b"code"), ("demo-1.0/inner2/x", b""))
    archive.extract(packed, tmp_path / "out", under="inner")
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["main.c"]


def test_hard_links_follow_the_files_they_name(tmp_path: Path) -> None:
    packed = tar(tmp_path / "a.tar.gz", ("demo/a", b"same"), link("demo/b", "demo/a", tarfile.LNKTYPE))
    archive.extract(packed, tmp_path / "out")
    assert (tmp_path / "out" / "b").read_bytes() == b"same"


@pytest.mark.usefixtures("either_filter")
@pytest.mark.parametrize(
    "member",
    [
        ("demo/../../evil", b"x"),
        ("demo//../../../evil", b"x"),
        link("demo/out", "/etc"),
        link("demo/out", "../../.."),
        link("demo/out", "demo/../../../../etc/passwd", tarfile.LNKTYPE),
        link("demo/device", "", tarfile.CHRTYPE),
        link("demo/pipe", "", tarfile.FIFOTYPE),
    ],
    ids=lambda member: member[0] if isinstance(member, tuple) else f"{member.name} -> {member.linkname} ({member.type!r})",
)
def test_a_member_that_leads_out_or_is_no_file_is_refused(tmp_path: Path, member: tuple[str, bytes] | tarfile.TarInfo) -> None:
    (tmp_path / "in").mkdir()
    packed = tar(tmp_path / "in" / "a.tar.gz", ("demo/good", b"x"), member)
    with pytest.raises(DownloadError, match=r"a\.tar\.gz could not be unpacked"):
        archive.extract(packed, tmp_path / "in" / "out")
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "a.tar.gz"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[: len(content) // 2], "could not be unpacked"),
        (lambda content: b"not an archive", "could not be unpacked"),
    ],
)
def test_a_damaged_archive_leaves_nothing(tmp_path: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    packed = tar(tmp_path / "a.tar.gz", ("demo/data", bytes(range(256)) * 500))
    packed.write_bytes(damage(packed.read_bytes()))
    with pytest.raises(DownloadError, match=message):
        archive.extract(packed, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_archive_without_the_wanted_folder_is_named(tmp_path: Path) -> None:
    packed = tar(tmp_path / "a.tar.gz", ("demo/data", b"x"))
    with pytest.raises(DownloadError, match=r"a\.tar\.gz holds no folder llama\.cpp"):
        archive.extract(packed, tmp_path / "out", under="llama.cpp")
