"""The supervisor with real, tiny programs: order, crashes, deaths, and that nothing is ever left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from tests.support.programs import code, journal, process, server, stack

from freehold.config import paths
from freehold.control import client
from freehold.control.protocol import ServiceStatus, StackStatus, socket_path
from freehold.core.errors import Conflict, Unhealthy
from freehold.core.progress import Silent
from freehold.targets.native import leftovers, run, supervisor
from freehold.targets.native.home import Home
from freehold.targets.native.leftovers import Child
from freehold.targets.native.process import Process


@pytest.fixture
async def home() -> AsyncIterator[Home]:
    """A state folder with a short path; whatever runs in it afterwards is ended."""
    with tempfile.TemporaryDirectory(prefix="fh-", dir="/tmp") as folder:
        home = Home(Path(folder) / "home")
        home.create()
        yield home
        for child in leftovers.read(home.processes_file):
            if alive := child.process():
                alive.kill()
        await run.stop(home, Silent())
        while _supervisors:
            _supervisors.pop().wait()
        run.delete(home)


_supervisors: list[subprocess.Popen[bytes]] = []


def started(home: Home, *processes: Process) -> subprocess.Popen[bytes]:
    _supervisors.append(run.start(stack(*processes), home, attached=False))
    return _supervisors[-1]


async def until(home: Home, condition: Callable[[dict[str, ServiceStatus]], bool]) -> StackStatus:
    """Ask until the services are as wanted; the test's own time limit ends a wait that is in vain."""
    while True:
        with suppress(Unhealthy):
            now = await run.status(home)
            if condition({service.name: service for service in now.services}):
                return now
        await asyncio.sleep(0.05)


def gone(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


async def until_gone(*pids: int) -> None:
    while not all(gone(pid) for pid in pids):
        await asyncio.sleep(0.05)


async def test_services_start_after_what_they_need_and_stop_before_it(home: Home) -> None:
    folder = home.path
    started(home, server("a", folder), server("b", folder, needs=("a",)), server("c", folder, needs=("b",)))
    await run.until_healthy(home, None, Silent())
    await run.stop(home, Silent())
    assert journal(folder) == ["start a", "start b", "start c", "stop c", "stop b", "stop a"]


async def test_a_task_is_waited_for_until_it_is_done(home: Home) -> None:
    folder = home.path
    task = code(
        "task", f"import time; time.sleep(0.3); open({str(folder / 'journal')!r}, 'a').write('done task\\n')", kind="task", restarts=False
    )
    started(home, task, server("a", folder, needs=("task",)))
    now = await run.until_healthy(home, None, Silent())
    assert journal(folder) == ["done task", "start a"]
    assert {service.name: service.state for service in now.services} == {"task": "done", "a": "healthy"}


async def test_stopping_leaves_nothing_behind(home: Home) -> None:
    running = started(home, server("a", home.path), server("b", home.path))
    now = await run.until_healthy(home, running, Silent())
    await run.stop(home, Silent())
    assert running.wait() == 0
    assert all(service.pid and gone(service.pid) for service in now.services)
    assert not paths.runtime(home.path).exists()
    assert leftovers.read(home.processes_file) == []


async def test_a_stack_whose_disk_is_full_ends_in_order(home: Home) -> None:
    running = started(home, server("a", home.path))
    await run.until_healthy(home, running, Silent())
    home.processes_file.with_suffix(".new").mkdir()  # from now on the list of processes cannot be written
    assert await run.stop(home, Silent()) == ["a"]
    assert running.wait() == 0


async def test_leftovers_on_a_full_disk_are_forgotten(home: Home) -> None:
    leftovers.write(home.processes_file, [])
    home.processes_file.with_suffix(".new").mkdir()
    assert await run.stop(home, Silent()) == []
    assert not home.processes_file.exists()


async def test_a_service_that_ignores_the_request_to_stop_is_killed_after_its_grace_time(home: Home) -> None:
    started(home, server("a", home.path, stubborn=True, grace_seconds=0.3))
    now = await run.until_healthy(home, None, Silent())
    await run.stop(home, Silent())
    assert journal(home.path) == ["start a", "stop a"]
    assert gone(now.services[0].pid or 0)


async def test_children_of_a_service_end_with_it(home: Home) -> None:
    source = (
        "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        "print(p.pid, flush=True); time.sleep(600)"
    )
    started(home, code("parent", source))
    await until(home, lambda now: now["parent"].state == "healthy")
    grandchild = int(home.log("parent").read_text())
    assert not gone(grandchild)
    await run.stop(home, Silent())
    await until_gone(grandchild)


async def test_a_crashed_service_is_started_again_and_the_status_says_how_it_ended(home: Home) -> None:
    started(home, server("a", home.path))
    before = await run.until_healthy(home, None, Silent())
    os.kill(before.services[0].pid or 0, signal.SIGKILL)
    after = (await until(home, lambda now: now["a"].restarts == 1 and now["a"].state == "healthy")).services[0]
    assert after.pid != before.services[0].pid
    assert after.ended == "was ended by SIGKILL: a runs"


async def test_a_service_that_keeps_dying_at_start_fails_with_its_last_lines(home: Home) -> None:
    started(
        home,
        code("broken", "print('half', flush=True); raise SystemExit('no such table: runs')"),
        server("after", home.path, needs=("broken",)),
    )
    with pytest.raises(Unhealthy) as error:
        await run.until_healthy(home, None, Silent())
    assert "broken does not start: ended with exit code 1: no such table: runs" in error.value.message
    assert "    half" in error.value.message
    assert error.value.hint and "freehold logs broken" in error.value.hint
    now = {service.name: service for service in (await run.status(home)).services}
    assert (now["after"].state, now["after"].why) == ("waiting", "needs broken")
    assert now["broken"].restarts == 2


async def test_a_failed_task_fails_the_start(home: Home) -> None:
    started(home, code("migrate", "raise SystemExit('the database is of a newer version')", kind="task", restarts=False))
    with pytest.raises(Unhealthy, match="migrate does not start: ended with exit code 1: the database is of a newer version"):
        await run.until_healthy(home, None, Silent())


async def test_a_program_that_is_not_there_is_named(home: Home) -> None:
    started(home, server("a", home.path), process("x", ("/nowhere/vllm",)))
    with pytest.raises(Unhealthy, match="cannot start /nowhere/vllm: No such file"):
        await run.until_healthy(home, None, Silent())


async def test_when_the_supervisor_is_killed_its_children_end_by_themselves(home: Home) -> None:
    running = started(home, server("a", home.path), server("b", home.path, needs=("a",)))
    now = await run.until_healthy(home, running, Silent())
    running.kill()
    running.wait()
    await until_gone(*(service.pid or 0 for service in now.services))
    assert sorted(journal(home.path)[2:]) == ["stop a", "stop b"]
    assert await run.stop(home, Silent()) == []


async def test_a_leftover_that_would_not_die_is_ended_by_down(home: Home) -> None:
    running = started(home, server("a", home.path, stubborn=True, grace_seconds=0.3))
    now = await run.until_healthy(home, running, Silent())
    running.kill()
    running.wait()
    assert not gone(now.services[0].pid or 0)
    assert await run.stop(home, Silent()) == ["a"]
    assert gone(now.services[0].pid or 0)


async def test_a_leftover_that_would_not_die_is_ended_by_the_next_start(home: Home) -> None:
    first = started(home, server("a", home.path, stubborn=True, grace_seconds=0.3))
    before = await run.until_healthy(home, first, Silent())
    first.kill()
    first.wait()
    started(home, server("a", home.path))
    after = await run.until_healthy(home, None, Silent())
    assert gone(before.services[0].pid or 0)
    assert after.services[0].pid != before.services[0].pid


async def test_a_stale_pid_that_belongs_to_another_program_now_is_left_alone(home: Home) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        leftovers.write(home.processes_file, [Child("a", stranger.pid, psutil.Process(stranger.pid).create_time() - 3600)])
        started(home, server("a", home.path))
        await run.until_healthy(home, None, Silent())
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


async def test_an_attached_stack_ends_with_the_command_that_started_it(home: Home) -> None:
    home.stack_file.write_text(stack(server("a", home.path)).to_json())
    script = (
        "import sys, time; from pathlib import Path; from freehold.targets.native import run;"
        "from freehold.targets.native.home import Home;"
        "home = Home(Path(sys.argv[1])); run.start(home.rendered(), home, attached=True); time.sleep(600)"
    )
    command = subprocess.Popen([sys.executable, "-c", script, str(home.path)])
    now = await until(home, lambda services: services["a"].state == "healthy")
    command.kill()
    command.wait()
    await until_gone(now.pid, now.services[0].pid or 0)
    assert journal(home.path) == ["start a", "stop a"]


async def test_one_supervisor_holds_a_folder(home: Home) -> None:
    handle = supervisor.lock(home)
    try:
        assert home.is_running()
        with pytest.raises(Conflict, match="another supervisor"):
            supervisor.lock(home)
    finally:
        os.close(handle)
    assert not home.is_running()


async def test_a_lock_file_of_a_dead_supervisor_does_not_count_as_running(home: Home) -> None:
    home.lock_file.write_text("1\n")
    assert not home.is_running()


async def test_a_service_can_be_restarted_by_name(home: Home) -> None:
    started(home, server("a", home.path), server("b", home.path))
    before = {service.name: service.pid for service in (await run.until_healthy(home, None, Silent())).services}
    await client.restart(socket_path(paths.runtime(home.path)), "b")
    after = await until(home, lambda now: now["b"].state == "healthy" and now["b"].pid != before["b"])
    assert {service.name: service.pid for service in after.services}["a"] == before["a"]
    assert {service.name: service.restarts for service in after.services} == {"a": 0, "b": 0}


async def test_a_restart_of_an_unknown_service_names_the_known_ones(home: Home) -> None:
    started(home, server("a", home.path))
    await run.until_healthy(home, None, Silent())
    with pytest.raises(Conflict, match='no service "z"; there are a'):
        await client.restart(socket_path(paths.runtime(home.path)), "z")


async def test_secrets_reach_the_program_and_no_file_but_their_own(home: Home) -> None:
    (home.secrets / "word").write_text("hush\n")
    started(home, code("task", "import os; print(os.environ['WORD'])", kind="task", restarts=False, env={"WORD": "<${secret:word}>"}))
    await run.until_healthy(home, None, Silent())
    assert home.log("task").read_text() == "<hush>\n"
    assert "hush" not in home.stack_file.read_text() + home.log("supervisor").read_text()


async def test_a_missing_secret_fails_the_service_that_needs_it(home: Home) -> None:
    started(home, code("task", "", kind="task", restarts=False, env={"WORD": "${secret:word}"}))
    with pytest.raises(Unhealthy, match=r"the secret .*word is missing"):
        await run.until_healthy(home, None, Silent())


async def test_the_control_socket_is_private(home: Home) -> None:
    started(home, server("a", home.path))
    await run.until_healthy(home, None, Silent())
    socket = socket_path(paths.runtime(home.path))
    assert socket.parent.stat().st_mode & 0o777 == 0o700
    assert socket.stat().st_mode & 0o777 == 0o600


async def test_memory_counts_the_children_too(home: Home) -> None:
    source = (
        "import subprocess, sys, time;"
        "p = subprocess.Popen([sys.executable, '-c', 'x = bytearray(80_000_000); import time; time.sleep(600)']); time.sleep(600)"
    )
    started(home, code("parent", source))
    now = await until(home, lambda services: (services["parent"].memory_bytes or 0) > 80_000_000)
    assert now.services[0].memory_bytes is not None


async def test_processes_that_restart_together_end_in_reverse_and_start_one_after_another(home: Home) -> None:
    folder = home.path
    started(home, server("a", folder), server("b", folder), server("c", folder))
    await run.until_healthy(home, None, Silent())
    before = len(journal(folder))
    await client.restart_together(socket_path(paths.runtime(home.path)), ("a", "c"))
    await run.until_healthy(home, None, Silent())
    assert journal(folder)[before:] == ["stop c", "stop a", "start a", "start c"]


async def test_together_with_something_unknown_nothing_restarts(home: Home) -> None:
    started(home, server("a", home.path))
    await run.until_healthy(home, None, Silent())
    with pytest.raises(Conflict, match='no process "z"; there are a'):
        await client.restart_together(socket_path(paths.runtime(home.path)), ("a", "z"))
    assert journal(home.path) == ["start a"]


async def test_a_part_of_a_stack_runs_without_what_it_does_not_name(home: Home) -> None:
    folder = home.path
    started(home, server("a", folder), server("b", folder, needs=("a",)))
    await run.until_healthy(home, None, Silent())
    await run.stop(home, Silent())
    _supervisors.append(run.supervise(home, attached=False, only=("b",)))
    now = await run.until_healthy(home, None, Silent())
    assert [service.name for service in now.services] == ["b"]
