"""Unpacking archives that came from elsewhere: nothing outside the chosen folder is written, whatever the archive says."""

from __future__ import annotations

import copy
import os
import shutil
import tarfile
from pathlib import Path, PurePosixPath

from freehold.core.errors import DownloadError


def _inside(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo:
    """What `tarfile.data_filter` does, in essence, for the Pythons before 3.11.4 that lack it: plain files, folders and inner links."""
    root = Path(folder).resolve()
    if not (member.isfile() or member.isdir() or member.issym()):
        raise tarfile.TarError(f"{member.name} is neither a file nor a folder")
    linked = Path(member.name).parent / member.linkname if member.issym() else Path(member.name)
    for path in (Path(member.name), linked):
        if path.is_absolute() or not (root / path).resolve().is_relative_to(root):
            raise tarfile.TarError(f"{member.name} leads out of the folder")
    moved = copy.copy(member)
    moved.mode = (member.mode & 0o755) | 0o600
    moved.uid, moved.gid = os.getuid(), os.getgid()
    return moved


_FILTER = getattr(tarfile, "data_filter", _inside)


def _moved(member: tarfile.TarInfo, skip: int) -> tarfile.TarInfo:
    """The member with its first folders left out; hard links name other members, so theirs are left out too."""
    moved = copy.copy(member)
    moved.name = str(PurePosixPath(*PurePosixPath(member.name).parts[skip:]))
    if member.islnk():
        moved.linkname = str(PurePosixPath(*PurePosixPath(member.linkname).parts[skip:]))
    return moved


def extract(archive: Path, target: Path, *, under: str | None = None) -> None:
    """Unpack a tar archive, leaving out its top folder, into `target`, which appears whole or not at all.

    Args:
        under: take only this folder of the archive, e.g. "llama.cpp" takes `name-1.0/llama.cpp/*`.

    Raises:
        DownloadError: the archive is damaged, or a member would leave the folder.
    """
    partial = target.with_name(target.name + ".new")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)
    skip = 1 if under is None else 2
    try:
        with tarfile.open(archive) as opened:
            for member in opened:
                parts = PurePosixPath(member.name).parts
                if len(parts) <= skip or (under is not None and parts[1] != under):
                    continue
                opened.extract(_moved(member, skip), partial, filter=_FILTER)
    except (tarfile.TarError, EOFError, OSError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise DownloadError(f"{archive.name} could not be unpacked: {error}") from error
    if not partial.is_dir():
        raise DownloadError(f"{archive.name} holds no folder {under or 'of files'}")
    partial.rename(target)
