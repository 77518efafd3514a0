"""One process and its keeper: pauses, starts that take too long, health that comes and goes."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from tests.support.programs import code, server

from freehold.stack.service import Health
from freehold.targets.native import keeper as module
from freehold.targets.native.home import Home
from freehold.targets.native.keeper import Ending, Keeper
from freehold.targets.native.process import Once, TextFile

Keep = Callable[..., Keeper]


@pytest.fixture
def home() -> Iterator[Home]:
    """A state folder with a short path, for the sockets in it."""
    with tempfile.TemporaryDirectory(prefix="fh-", dir="/tmp") as folder:
        home = Home(Path(folder) / "home")
        home.create()
        yield home


@pytest.fixture
async def keep(home: Home) -> AsyncIterator[Keep]:
    """Makes keepers and stops them afterwards."""
    made: list[Keeper] = []

    def make(process: object, *needs: Keeper) -> Keeper:
        made.append(Keeper(process, home, needs))  # type: ignore[arg-type]
        made[-1].start()
        return made[-1]

    yield make
    await asyncio.gather(*(keeper.stop() for keeper in made))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("ending", "text"),
    [
        (Ending(1, None), "ended with exit code 1"),
        (Ending(0, "bye"), "ended with exit code 0: bye"),
        (Ending(-9, None), "was ended by SIGKILL"),
        (Ending(-11, "loading"), "was ended by SIGSEGV: loading"),
        (Ending(-63, None), "was ended by signal 63"),
        (Ending(-15, "x", late="HTTP 503, after 60 s"), "was not ready in time: HTTP 503, after 60 s"),
    ],
)
def test_an_ending_says_how_and_the_last_line(ending: Ending, text: str) -> None:
    assert str(ending) == text


async def test_pauses_between_restarts_double(home: Home, keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    wait = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds in (0.5, 1.0, 2.0, 4.0):
            pauses.append(seconds)
            seconds = 0
        await wait(seconds)

    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    monkeypatch.setattr(module, "START_ATTEMPTS", 5)
    broken = keep(code("broken", "raise SystemExit(1)", health=Health("valkey", str(home.path / "never.sock"))))
    await until(lambda: broken.state == "failed")
    assert pauses == [0.5, 1.0, 2.0, 4.0]


def test_a_service_that_fails_for_weeks_is_tried_every_half_minute() -> None:
    assert module._pause(5000) == 30.0


async def test_a_fault_of_our_own_fails_the_service_and_it_can_still_be_stopped(home: Home, keep: Keep) -> None:
    faulty = keep(dataclasses.replace(server("a", home.path), stop_signal="SIGNOTHING"))
    await until(lambda: faulty.state == "failed")
    assert "SIGNOTHING" in str(faulty.why)
    await faulty.stop()
    assert faulty.state == "failed"


async def test_a_start_that_takes_too_long_is_ended_and_says_what_was_missing(
    home: Home, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "START_ATTEMPTS", 1)
    never = Health("valkey", str(home.path / "never.sock"), start_seconds=0.2)
    slow = keep(code("slow", "import time; time.sleep(600)", health=never))
    await until(lambda: slow.state == "failed")
    assert slow.why == "was not ready in time: does not listen yet, after 0 s"


async def test_a_service_that_stops_answering_is_unhealthy_and_recovers(home: Home, keep: Keep) -> None:
    process = server("a", home.path)
    assert process.health is not None
    watched = keep(dataclasses.replace(process, health=dataclasses.replace(process.health, interval_seconds=0.05, failures=2)))
    await until(lambda: watched.state == "healthy")
    path = home.path / "a.sock"
    path.rename(home.path / "away")
    await until(lambda: watched.state == "unhealthy")
    assert watched.why == "does not listen yet"
    (home.path / "away").rename(path)
    await until(lambda: watched.state == "healthy")
    assert watched.restarts == 0


async def test_the_ready_file_of_an_earlier_life_makes_nobody_healthy(home: Home, keep: Keep) -> None:
    ready, waits = home.path / "a.ready", "import time; time.sleep(600)"
    ready.touch()
    watched = keep(code("a", waits, health=Health("ready", str(ready))))
    await until(lambda: watched.state == "starting" and watched.why == "does not take work yet")
    ready.touch()
    await until(lambda: watched.state == "healthy")


async def test_work_before_the_first_start_is_done_once(home: Home, keep: Keep) -> None:
    new, final = home.path / "data.new", home.path / "data"
    once = Once(("/bin/mkdir", str(new)), builds=str(new), produces=str(final))
    for _ in range(2):
        task = keep(code("task", f"print(__import__('os').path.isdir({str(final)!r}))", kind="task", restarts=False, once=once))
        await until(lambda: task.state == "done")  # noqa: B023 - awaited in the same round
    assert home.log("task").read_text() == "True\nTrue\n"


async def test_half_a_result_of_the_first_work_is_thrown_away(home: Home, keep: Keep) -> None:
    new, final = home.path / "data.new", home.path / "data"
    new.mkdir()
    (new / "half").touch()
    once = Once(("/bin/mkdir", str(new)), builds=str(new), produces=str(final))
    task = keep(code("task", "", kind="task", restarts=False, once=once))
    await until(lambda: task.state == "done")
    assert list(final.iterdir()) == []


async def test_first_work_that_fails_fails_the_service(home: Home, keep: Keep) -> None:
    once = Once(("/bin/sh", "-c", "echo no space left >&2; exit 3"), builds=str(home.path / "n"), produces=str(home.path / "f"))
    service = keep(code("db", "", once=once))
    await until(lambda: service.state == "failed")
    assert service.why == "ended with exit code 3: no space left"


async def test_files_are_written_before_the_start_and_are_private(home: Home, keep: Keep) -> None:
    folder = home.path / "access"
    files = (TextFile(str(folder / "hba.conf"), "local all\n"),)
    task = keep(code("task", f"print(open({str(folder / 'hba.conf')!r}).read())", kind="task", folders=(str(folder),), files=files))
    await until(lambda: task.state == "done")
    assert home.log("task").read_text().startswith("local all")
    assert (folder.stat().st_mode & 0o777, (folder / "hba.conf").stat().st_mode & 0o777) == (0o700, 0o600)


async def test_a_stop_while_waiting_for_a_need_ends_at_once(home: Home, keep: Keep) -> None:
    first = keep(code("first", "import time; time.sleep(600)", kind="task"))
    second = keep(server("second", home.path), first)
    await until(lambda: second.state == "waiting" and second.why is not None)
    await second.stop()
    assert second.state == "stopped"


async def test_a_stop_during_the_first_work_ends_that_work(home: Home, keep: Keep) -> None:
    once = Once(("/bin/sleep", "600"), builds=str(home.path / "n"), produces=str(home.path / "f"))
    service = keep(code("db", "", once=once))
    await until(lambda: service.status().pid is not None)
    pid = service.status().pid
    await service.stop()
    assert service.state == "stopped"
    assert not Path(f"/proc/{pid}").exists()


async def test_a_program_has_its_own_session_and_no_files_but_the_standard_ones(home: Home, keep: Keep) -> None:
    with socket.socket() as inherited:
        inherited.set_inheritable(True)
        source = "import os; print(os.getsid(0) == os.getpid(), sorted(map(int, os.listdir('/dev/fd')))[:3], len(os.listdir('/dev/fd')))"
        task = keep(code("task", source, kind="task"))
        await until(lambda: task.state == "done")
    assert home.log("task").read_text() == "True [0, 1, 2] 4\n"  # the fourth is the listing itself


async def test_programs_that_are_not_ours_do_not_get_the_users_keys(home: Home, keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAVILY_API_KEY", "hush")
    source = "import os; print(os.environ.get('TAVILY_API_KEY'))"
    minimal = keep(code("minimal", source, kind="task"))
    user = keep(code("user", source, kind="task", environment="user"))
    await until(lambda: minimal.state == user.state == "done")
    assert (home.log("minimal").read_text(), home.log("user").read_text()) == ("None\n", "hush\n")


async def test_a_pinned_process_and_its_threads_run_on_those_processors_alone(home: Home, keep: Keep) -> None:
    own = min(os.sched_getaffinity(0))
    told = home.path / "told"
    wait = "import time; time.sleep(60)"
    text = f"import os, pathlib; pathlib.Path({str(told)!r}).write_text(str(os.sched_getaffinity(0))); {wait}"
    keep(dataclasses.replace(code("pinned", text), cpus=(own,)))
    await until(lambda: told.exists() and told.read_text() != "")
    assert told.read_text() == str({own})


async def test_processors_that_are_not_there_are_named(home: Home, keep: Keep) -> None:
    pinned = keep(dataclasses.replace(code("pinned", "import time; time.sleep(60)", health=Health("alive")), cpus=(4000,)))
    await until(lambda: pinned.state == "failed")
    assert "cannot be pinned to the processors 4000" in (pinned.why or "")


async def test_secrets_are_filled_into_files_when_a_process_starts_and_nobody_else_may_read_them(keep: Keep, home: Home) -> None:
    (home.secrets / "postgres_app").write_text("hush\n")
    path = home.path / "users.txt"
    process = dataclasses.replace(
        code("sleeps", "import time; time.sleep(60)"), files=(TextFile(str(path), '"app" "${secret:postgres_app}"\n'),)
    )
    keep(process)
    await until(path.exists)
    assert path.read_text() == '"app" "hush"\n'
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_restart_fills_files_with_the_secrets_as_they_are_now(keep: Keep, home: Home, tmp_path: Path) -> None:
    (home.secrets / "postgres_app").write_text("before\n")
    path = tmp_path / "users.txt"
    keeper = keep(dataclasses.replace(server("pooler", tmp_path), files=(TextFile(str(path), "${secret:postgres_app}"),)))
    await until(lambda: keeper.state == "healthy")
    (home.secrets / "postgres_app").write_text("after\n")
    await keeper.restart()
    await until(lambda: path.read_text() == "after")
