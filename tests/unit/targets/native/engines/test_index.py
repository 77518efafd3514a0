import hashlib
from pathlib import Path

import pytest
from tests.unit.models.file_server import Watched, serving

from freehold.core.errors import DownloadError
from freehold.models.catalogue import File
from freehold.targets.native.engines import index
from freehold.targets.native.engines.index import Archive, Indexes

CONTENT = b"source" * 1000
ARCHIVE = Archive("demo-source", File("demo_source-1.0.tar.gz", len(CONTENT), hashlib.sha256(CONTENT).hexdigest()))
PAGE = b"""<!DOCTYPE html><html><body>
<a href="../../files/demo_source-0.9.tar.gz#sha256=aa">demo_source-0.9.tar.gz</a><br/>
<a data-requires-python="&gt;=3.9" href="../../files/demo_source-1.0.tar.gz#sha256=bb">demo_source-1.0.tar.gz</a>
</body></html>"""


@pytest.mark.parametrize(
    ("text", "indexes"),
    [
        ("", Indexes(("https://default.example/simple",))),
        ("global.index-url='https://a.example/simple'", Indexes(("https://a.example/simple",))),
        (
            ":env:.index-url='https://env.example'\ndownload.index-url='https://d.example'\nglobal.index-url='https://g.example'",
            Indexes(("https://env.example",)),
        ),
        ("download.index-url='https://d.example'\nglobal.index-url='https://g.example'", Indexes(("https://d.example",))),
        (
            "global.extra-index-url='https://b.example  file:///c'\nglobal.find-links='/wheels'\nglobal.cert='/ca.pem'",
            Indexes(("https://default.example/simple", "https://b.example", "file:///c"), ("/wheels",), "/ca.pem"),
        ),
        ("global.no-index='true'\nglobal.find-links='/wheels'", Indexes((), ("/wheels",))),
        ("something else\nglobal.index-url=", Indexes(("https://default.example/simple",))),
    ],
)
def test_pips_settings_are_read_as_pip_ranks_them(text: str, indexes: Indexes) -> None:
    assert index.parse_settings(text, "https://default.example/simple") == indexes


async def test_pip_itself_is_asked_for_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "https://mine.example/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "/wheels")
    found = await index.configured()
    assert (found.pages[0], found.find_links) == ("https://mine.example/simple", ("/wheels",))


async def test_where_no_index_is_set_pips_own_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    (own, *_) = (await index.configured()).pages
    assert own.startswith("https://") and own.endswith("/simple")


def test_links_of_a_page_are_told_by_their_file_names() -> None:
    links = index.parse_page(PAGE.decode(), "https://index.example/simple/demo-source/")
    assert links["demo_source-1.0.tar.gz"] == "https://index.example/files/demo_source-1.0.tar.gz"


async def test_an_archive_comes_from_an_index_on_the_network(tmp_path: Path) -> None:
    async with serving({"/simple/demo-source/": PAGE, "/files/demo_source-1.0.tar.gz": CONTENT}) as server:
        await index.fetch(ARCHIVE, tmp_path / "a", Watched(), Indexes((f"{server.url}/simple/",)))
    assert (tmp_path / "a").read_bytes() == CONTENT


async def test_an_archive_comes_from_an_index_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "simple" / "demo-source").mkdir(parents=True)
    (tmp_path / "simple" / "demo-source" / "index.html").write_bytes(PAGE)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "demo_source-1.0.tar.gz").write_bytes(CONTENT)
    await index.fetch(ARCHIVE, tmp_path / "a", Watched(), Indexes(((tmp_path / "simple").as_uri(),)))
    assert (tmp_path / "a").read_bytes() == CONTENT


async def test_an_archive_comes_from_a_folder_of_files(tmp_path: Path) -> None:
    (tmp_path / "demo_source-1.0.tar.gz").write_bytes(CONTENT)
    await index.fetch(ARCHIVE, tmp_path / "a", Watched(), Indexes((), (str(tmp_path),)))
    assert (tmp_path / "a").read_bytes() == CONTENT


async def test_the_next_index_is_asked_when_one_does_not_have_it(tmp_path: Path) -> None:
    async with serving({"/b/demo-source/": PAGE, "/files/demo_source-1.0.tar.gz": CONTENT}) as server:
        await index.fetch(ARCHIVE, tmp_path / "a", Watched(), Indexes((f"{server.url}/a", f"{server.url}/b")))
        assert [request.path for request in server.asked] == ["/a/demo-source/", "/b/demo-source/", "/files/demo_source-1.0.tar.gz"]
    assert (tmp_path / "a").read_bytes() == CONTENT


async def test_another_archive_under_the_same_name_is_refused(tmp_path: Path) -> None:
    async with serving({"/simple/demo-source/": PAGE, "/files/demo_source-1.0.tar.gz": b"x" * len(CONTENT)}) as server:
        with pytest.raises(DownloadError, match=r"demo_source-1\.0\.tar\.gz could not be fetched: .* its hash differs"):
            await index.fetch(ARCHIVE, tmp_path / "a", Watched(), Indexes((f"{server.url}/simple",)))
    assert not (tmp_path / "a").exists()


async def test_a_wrong_archive_in_a_folder_does_not_stay(tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "demo_source-1.0.tar.gz").write_bytes(b"x" * len(CONTENT))
    with pytest.raises(DownloadError, match="its hash differs"):
        await index.fetch(ARCHIVE, tmp_path / "a", Watched(), Indexes((), (str(tmp_path / "links"),)))
    assert not (tmp_path / "a").exists()


async def test_every_index_that_was_asked_is_named_without_its_password(tmp_path: Path) -> None:
    async with serving() as server:
        page = server.url.replace("http://", "http://user:secret@")
        with pytest.raises(DownloadError, match="could not be fetched") as caught:
            await index.fetch(ARCHIVE, tmp_path / "a", Watched(), Indexes((page,), (str(tmp_path),)))
    assert f"{tmp_path} does not list it; 127.0.0.1 answered HTTP 404" in caught.value.message
    assert "secret" not in caught.value.message
