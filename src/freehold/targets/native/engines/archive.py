"""Unpacking archives that came from elsewhere: nothing outside the chosen folder is written, whatever the archive says."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path, PurePosixPath

from freehold.core.errors import DownloadError


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
                if member.islnk():
                    member.linkname = str(PurePosixPath(*PurePosixPath(member.linkname).parts[skip:]))
                opened.extract(member.replace(name=str(PurePosixPath(*parts[skip:])), deep=False), partial, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise DownloadError(f"{archive.name} could not be unpacked: {error}") from error
    if not partial.is_dir():
        raise DownloadError(f"{archive.name} holds no folder {under or 'of files'}")
    partial.rename(target)
