"""Following a log: whole lines only, and on from the start after a rotation."""

from __future__ import annotations

from pathlib import Path

import pytest

from freehold.cli import logs
from freehold.core.errors import NotConfigured, NotFound
from freehold.targets.native.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    for name in ("server", "worker-1", "worker-2"):
        home.log(name).write_text(f"{name} says hello\n")
    return home


def test_a_half_written_line_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("one\ntwo\nthr")
    text, position = logs._read_on(path, 4)
    assert (text, position) == ("two\n", 8)
    with path.open("a") as file:
        file.write("ee\n")
    assert logs._read_on(path, position) == ("three\n", 14)


def test_a_rotated_file_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("new\n")
    assert logs._read_on(path, 5000) == ("new\n", 4)


@pytest.mark.parametrize(
    ("service", "names"),
    [(None, ["server", "worker-1", "worker-2"]), ("server", ["server"]), ("worker", ["worker-1", "worker-2"]), ("worker-2", ["worker-2"])],
)
def test_a_service_means_all_its_replicas(home: Home, service: str | None, names: list[str]) -> None:
    assert [path.stem for path in logs._files(home, service)] == names


def test_an_unknown_service_names_the_known_ones(home: Home) -> None:
    with pytest.raises(NotFound) as error:
        logs._files(home, "nope")
    assert error.value.hint == "there are server, worker-1, worker-2"


def test_a_folder_without_logs_says_how_to_get_some(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match="there are no logs"):
        logs._files(Home(tmp_path), None)


async def test_lines_of_several_services_carry_their_names(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FREEHOLD_HOME", str(home.path))
    await logs.logs(service=None, follow=False, lines=1)
    assert capsys.readouterr().out.splitlines()[0] == "server: server says hello"
    await logs.logs(service="server", follow=False, lines=1)
    assert capsys.readouterr().out == "server says hello\n"
