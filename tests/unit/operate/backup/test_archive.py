"""The file that a backup is: whole or not there, and every kind of damage is found."""

from __future__ import annotations

import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from freehold.core.errors import ConfigError, Incompatible
from freehold.operate.backup.archive import FORMAT, Manifest, Part, reading, writing

CONTENT = b"rows " * 10_000


def write(path: Path, *, name: str = "freehold", number: int = FORMAT) -> Path:
    with writing(path) as writer:
        with writer.part("databases/freehold.dump") as sink:
            sink.write(CONTENT)
        part = Part(name, "freehold_owner", "databases/freehold.dump", sink.size, sink.sha256, ("0001_initial.sql",))
        writer.finish(Manifest(number, "0.1.0", datetime(2026, 1, 2, tzinfo=UTC), 18, "server", (part,)))
    return path


def test_what_was_written_is_read_and_verified(tmp_path: Path) -> None:
    seen: list[int] = []
    with reading(write(tmp_path / "a.backup")) as backup:
        backup.verify(seen.append)
        (part,) = backup.manifest.parts
        assert b"".join(backup.read(part)) == CONTENT
    assert sum(seen) == part.size == len(CONTENT)


def test_it_is_private_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.backup")
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_backup_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="gone"), writing(tmp_path / "a.backup") as writer, writer.part("x") as sink:
        sink.write(CONTENT)
        raise OSError("gone")
    assert list(tmp_path.iterdir()) == []


def test_a_backup_never_replaces_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.backup")
    with pytest.raises(ConfigError, match="is there already"), writing(path):
        pass


def test_one_changed_byte_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "a.backup")
    data = bytearray(path.read_bytes())
    data[2000] ^= 1
    path.write_bytes(data)
    with reading(path) as backup, pytest.raises(Incompatible, match="is damaged"):
        backup.verify(lambda _: None)


def test_a_file_that_was_exchanged_inside_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "a.backup")
    with zipfile.ZipFile(path) as archive:
        manifest = archive.read("manifest.json")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("databases/freehold.dump", b"something else")
        archive.writestr("manifest.json", manifest)
    with reading(path) as backup, pytest.raises(Incompatible, match="is damaged"):
        backup.verify(lambda _: None)


@pytest.mark.parametrize("kept", [0, 10, 20_000, -1])
def test_a_torn_file_is_no_backup(tmp_path: Path, kept: int) -> None:
    path = write(tmp_path / "a.backup")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(Incompatible, match="is not a whole backup"), reading(path):
        pass


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"), reading(tmp_path / "none"):
        pass


def test_another_zip_is_no_backup(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("hello", "there")
    with pytest.raises(Incompatible, match="not a backup that this version reads"), reading(tmp_path / "a.zip"):
        pass


def test_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Incompatible, match="has format 2"), reading(write(tmp_path / "a.backup", number=2)):
        pass


def test_a_name_that_would_end_a_quoted_one_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.backup")
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    manifest["parts"][0]["name"] = 'x"; DROP DATABASE freehold; --'
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest))
    with pytest.raises(Incompatible, match="not a backup that this version reads"), reading(path):
        pass
