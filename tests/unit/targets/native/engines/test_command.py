import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from freehold.targets.native.engines import command


async def test_lines_are_logged_and_followed(tmp_path: Path) -> None:
    lines: list[str] = []
    script = ["/bin/sh", "-c", "echo one; echo two >&2; echo $COLOUR; exit 3"]
    status = await command.run(script, folder=tmp_path, log=tmp_path / "log", environment={"COLOUR": "green"}, on_line=lines.append)
    assert status == 3
    assert lines == ["one", "two", "green"]
    assert command.last_lines(tmp_path / "log", 2) == "two\ngreen"


async def test_a_program_that_does_not_exist_is_a_status_and_a_line(tmp_path: Path) -> None:
    assert await command.run(["/nowhere/cmake"], folder=tmp_path, log=tmp_path / "log") == 127
    assert "cannot start /nowhere/cmake: No such file or directory" in command.last_lines(tmp_path / "log")


async def test_cancelling_ends_the_program_and_its_children(tmp_path: Path) -> None:
    script = ["/bin/sh", "-c", "sleep 300 & echo $!; wait"]
    lines: list[str] = []
    task = asyncio.create_task(command.run(script, folder=tmp_path, log=tmp_path / "log", on_line=lines.append))
    while not lines:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _gone(int(lines[0]))


async def test_a_program_ends_when_the_process_that_runs_it_is_killed(tmp_path: Path) -> None:
    outer = textwrap.dedent(f"""
        import asyncio
        from pathlib import Path
        from freehold.targets.native.engines import command
        folder = Path({str(tmp_path)!r})
        asyncio.run(command.run(["/bin/sh", "-c", "echo $$ > pid; mv pid ready; exec sleep 300"], folder=folder, log=folder / "log"))
    """)
    process = subprocess.Popen([sys.executable, "-c", outer])
    while not (tmp_path / "ready").exists():
        assert process.poll() is None
        await asyncio.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    await _gone(int((tmp_path / "ready").read_text()))


async def _gone(pid: int) -> None:
    """Wait until a process has ended; the test's own time limit is the bound."""
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        await asyncio.sleep(0.02)
