"""Which files an ingest reads: never one outside the folder it was given."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from freehold.rag.folder import Candidate, read, scan
from freehold.rag.load import Unreadable


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "deep" / "deeper").mkdir(parents=True)
    (folder / "b.md").write_text("b")
    (folder / "a.TXT").write_text("a")
    (folder / "deep" / "deeper" / "c.html").write_text("c")
    return folder


def sources(folder: Path) -> list[str]:
    return [candidate.source for candidate in scan(folder).candidates]


def test_documents_are_found_at_any_depth_in_a_stable_order(folder: Path) -> None:
    assert sources(folder) == ["a.TXT", "b.md", "deep/deeper/c.html"]


def test_hidden_files_and_folders_are_left_out_and_others_counted(folder: Path) -> None:
    (folder / ".secret.md").write_text("x")
    (folder / ".git").mkdir()
    (folder / ".git" / "readme.md").write_text("x")
    (folder / "photo.jpg").write_text("x")
    found = scan(folder)
    assert (len(found.candidates), found.skipped) == (3, 1)


def test_links_out_of_the_folder_are_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.md").write_text("secret")
    (folder / "file.md").symlink_to(tmp_path / "outside" / "secret.md")
    (folder / "folder").symlink_to(tmp_path / "outside")
    (folder / "deep" / "up.md").symlink_to("../../outside/secret.md")
    (folder / "dangling.md").symlink_to("nowhere.md")
    (folder / "loop.md").symlink_to("loop.md")
    (folder / "deep" / "parent").symlink_to("..")
    assert sources(folder) == ["a.TXT", "b.md", "deep/deeper/c.html"]


def test_links_within_the_folder_are_read_once(folder: Path) -> None:
    (folder / "again.md").symlink_to("b.md")
    (folder / "..data").mkdir()  # as Kubernetes mounts a ConfigMap: files are links into a hidden folder
    (folder / "..data" / "mounted.md").write_text("mounted")
    (folder / "mounted.md").symlink_to("..data/mounted.md")
    assert sources(folder) == ["a.TXT", "b.md", "deep/deeper/c.html", "mounted.md"]
    mounted = scan(folder).candidates[-1]
    assert read(mounted, max_bytes=100) == b"mounted"


def test_a_single_file_is_known_by_its_name(folder: Path) -> None:
    (candidate,) = scan(folder / "deep" / ".." / "b.md").candidates
    assert (candidate.source, candidate.path, candidate.media_type) == ("b.md", str(folder / "b.md"), "text/markdown")


def test_a_folder_given_through_a_link_is_its_target(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert scan(tmp_path / "link").root == folder


@pytest.mark.parametrize(("name", "message"), [("nowhere", "does not exist"), ("photo.jpg", r"is no kind of document \(\.jpg\)")])
def test_what_cannot_be_scanned_says_why(folder: Path, name: str, message: str) -> None:
    (folder / "photo.jpg").write_text("x")
    with pytest.raises(Unreadable, match=message):
        scan(folder / name)


def test_a_pipe_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe.md")
    assert sources(folder) == ["a.TXT", "b.md", "deep/deeper/c.html"]
    with pytest.raises(Unreadable, match="not a plain file"):
        read(Candidate(folder / "pipe.md", "pipe.md", "text/markdown"), max_bytes=10)


def test_a_file_larger_than_allowed_is_refused_without_being_read_whole(folder: Path) -> None:
    with (folder / "large.md").open("wb") as file:
        file.truncate(200_000_000_000)  # sparse: reading it whole would end the process
    with pytest.raises(Unreadable, match=r"larger than 0\.001 MB"):
        read(Candidate(folder / "large.md", "large.md", "text/markdown"), max_bytes=1000)


def test_a_name_that_is_not_utf8_is_a_finding(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.md")).write_text("x")
    found = scan(folder)
    assert found.unreadable == (("caf\ufffd.md", "has a name that is not UTF-8"),)
    assert len(found.candidates) == 3
    with pytest.raises(Unreadable, match="not UTF-8"):
        scan(Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.md")))


def test_only_stored_files_that_the_walk_could_have_met_count_as_vanished(folder: Path) -> None:
    found = scan(folder)
    assert found.is_vanished(str(folder / "gone.md"))
    assert not found.is_vanished(str(folder / "b.md"))


def test_files_in_a_folder_that_cannot_be_entered_have_not_vanished(folder: Path) -> None:
    found = scan(folder)
    closed = type(found)(found.root, found.candidates, (("deep", "cannot be entered: Permission denied"),))
    assert not closed.is_vanished(str(folder / "deep" / "gone.md"))
    assert closed.is_vanished(str(folder / "gone.md"))
