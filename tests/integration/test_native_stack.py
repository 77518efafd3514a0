"""A whole native stack through the command line, on real Postgres and Valkey: what a person meets in the first days."""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
from tests.support.stack_folder import Folder, free_port, make_folder

from freehold.config import paths
from freehold.targets.native.arrange import system_folder
from freehold.targets.native.connections import connections
from freehold.targets.native.home import MARKER

SERVICES = {"postgres", "valkey", "migrate", "server", "worker"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    """A running stack in a 150 characters deep folder that only its owner may enter; tests leave it running."""
    private = tmp_path_factory.mktemp("private", numbered=True)
    private.chmod(0o700)
    folder = make_folder(private / ("a" * 75) / ("b" * 75))
    folder.up()
    yield folder
    folder.run("reset", "--yes")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    """A folder without a stack; what was started in it is ended and deleted."""
    folder = make_folder(tmp_path / "project")
    yield folder
    folder.run("reset", "--yes", code=None)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until_gone(pids: dict[str, int]) -> None:
    while any(alive(pid) for pid in pids.values()):
        time.sleep(0.05)


def test_every_service_is_up_and_the_server_answers(stack: Folder) -> None:
    answer = json.loads(stack.run("status", "--json").stdout)
    assert {service["name"] for service in answer["services"]} == SERVICES
    assert answer["healthy"] is True
    assert httpx.get(f"{answer['url']}/ok").json() == {"ok": True}


def test_status_is_a_table_with_a_line_for_each_service(stack: Folder) -> None:
    lines = stack.run("status").stdout.splitlines()
    assert lines[0].split() == ["SERVICE", "STATE", "PID", "PORT", "SINCE", "MEMORY", "WHY"]
    assert {line.split()[0] for line in lines[1:]} == SERVICES
    assert str(stack.port) in next(line for line in lines if line.startswith("server"))


def test_a_second_up_says_so_and_starts_nothing(stack: Folder) -> None:
    before = stack.pids()
    again = stack.up()
    assert (again["was_running"], again["needs_restart"]) == (True, False)
    assert stack.pids() == before
    assert "is running already" in stack.run("up", "--detach").stdout


def test_an_up_with_other_settings_says_that_a_restart_is_needed(stack: Folder) -> None:
    answer = json.loads(stack.run("up", "--detach", "--json", "--port", str(free_port())).stdout)
    assert (answer["was_running"], answer["needs_restart"]) == (True, True)


def test_the_database_is_reached_by_role_and_only_over_its_socket(stack: Folder) -> None:
    urls = connections(stack.home.path)
    with psycopg.connect(urls.database_url) as connection:
        assert connection.execute("SELECT current_user, inet_server_addr()").fetchone() == ("freehold_app", None)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(urls.database_url, password="wrong")


def test_state_and_secrets_are_private_and_nothing_else_was_touched(stack: Folder) -> None:
    home = stack.home
    assert {path.stat().st_mode & 0o777 for path in (home.path, home.secrets, home.logs)} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in home.secrets.iterdir()} == {0o600}
    assert stack.path.parents[1].stat().st_mode & 0o777 == 0o700


def test_no_password_is_in_a_command_line_a_log_or_the_rendered_stack(stack: Folder) -> None:
    words = [path.read_text().strip() for path in stack.home.secrets.iterdir()]
    seen = [" ".join(psutil.Process(pid).cmdline()) for pid in stack.pids().values()]
    seen += [path.read_text(errors="replace") for path in (*stack.home.logs.iterdir(), stack.home.stack_file)]
    assert words
    assert not [word for word in words for text in seen if word in text]


def test_logs_of_one_service_and_of_an_unknown_one(stack: Folder) -> None:
    assert "database system is ready to accept connections" in stack.run("logs", "postgres").stdout
    assert "there are" in stack.run("logs", "nope", code=1).stderr


def test_doctor_finds_the_running_stack_well(stack: Folder) -> None:
    findings = {finding["check"]: finding for finding in json.loads(stack.run("doctor", "--json").stdout)["findings"]}
    assert {name: findings[name]["level"] for name in ("stack", "database", "pgvector", "valkey")} == dict.fromkeys(
        ("stack", "database", "pgvector", "valkey"), "ok"
    )


def test_freehold_alone_says_what_runs_and_what_to_try(stack: Folder) -> None:
    text = stack.run().stdout
    assert "postgres" in text
    assert "freehold ask" in text


def test_reset_without_a_terminal_wants_to_be_told(stack: Folder) -> None:
    done = stack.run("reset", code=2)
    assert "--yes" in done.stderr
    assert stack.pids()


def test_a_taken_port_is_named_with_its_holder_and_the_way_out(folder: Folder) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", folder.port))
        holder.listen()
        error = folder.run("up", "--detach", code=1).stderr
    assert f"port {folder.port} on 127.0.0.1 is taken by" in error
    assert f"(pid {os.getpid()})" in error
    assert "--port" in error
    assert not folder.home.is_running()


def test_of_two_ups_at_once_one_starts_the_stack_and_the_other_finds_it(folder: Folder) -> None:
    both = [
        subprocess.Popen(
            folder.command("up", "--detach", "--json"), cwd=folder.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    answers = [(command.communicate(), command.returncode) for command in both]
    assert [code for _, code in answers] == [0, 0], answers
    assert sorted(json.loads(out)["was_running"] for (out, _), _ in answers) == [False, True]
    assert set(folder.pids()) == SERVICES - {"migrate"}


def test_data_survives_down_and_up_and_a_changed_password_takes_effect(folder: Folder) -> None:
    folder.up()
    with psycopg.connect(connections(folder.home.path).migration_url) as connection:
        connection.execute("CREATE TABLE public.kept AS SELECT 42 AS number")
    pids = folder.pids()
    folder.run("down")
    assert not [pid for pid in pids.values() if alive(pid)]
    (folder.home.secrets / "postgres_owner").write_text("another-password\n")
    folder.up()
    urls = connections(folder.home.path)
    assert "another-password" in urls.migration_url
    with psycopg.connect(urls.migration_url) as connection:
        assert connection.execute("SELECT number FROM public.kept").fetchone() == (42,)


def test_after_a_killed_supervisor_nothing_is_left_and_up_works_again(folder: Folder) -> None:
    folder.up()
    pids = folder.pids()
    os.kill(int(folder.home.lock_file.read_text()), signal.SIGKILL)
    wait_until_gone(pids)
    assert "not running" in folder.run("status", code=5).stdout
    folder.up()
    assert set(folder.pids().values()).isdisjoint(pids.values())


@pytest.mark.slow
def test_services_that_were_killed_come_back_and_status_says_so(folder: Folder) -> None:
    folder.up()
    before = folder.pids()
    for name in ("postgres", "valkey", "worker"):
        os.kill(before[name], signal.SIGKILL)
    while not json.loads(folder.run("status", "--json", code=None).stdout)["healthy"] or folder.pids() == before:
        time.sleep(0.2)
    assert "restarted once: it was ended by SIGKILL" in folder.run("status").stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_in_the_foreground_ends_everything_in_order(folder: Folder, number: signal.Signals) -> None:
    running = subprocess.Popen(folder.command("up"), cwd=folder.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert running.stdout is not None
    lines = []
    for line in running.stdout:
        lines.append(line)
        if "Ctrl-C ends it" in line:
            break
    pids = folder.pids()
    running.send_signal(number)
    rest, _ = running.communicate()
    assert running.returncode == 0, lines
    assert "all services have ended" in rest
    assert not [pid for pid in pids.values() if alive(pid)]


@pytest.mark.slow
def test_a_killed_foreground_command_takes_its_stack_with_it(folder: Folder) -> None:
    with subprocess.Popen(folder.command("up"), cwd=folder.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        assert running.stdout is not None
        while "Ctrl-C ends it" not in running.stdout.readline():
            pass
        pids = folder.pids()
        running.kill()
    wait_until_gone(pids)
    assert set(pids) == SERVICES - {"migrate"}


def test_a_service_that_cannot_start_fails_up_with_its_lines_and_leaves_nothing(folder: Folder) -> None:
    (folder.path / "freehold.toml").write_text(
        (folder.path / "freehold.toml").read_text() + '[database]\nurl = "postgresql://nobody@127.0.0.1:9/none"\n'
    )
    done = folder.run("up", "--detach", code=5)
    assert "migrate does not start" in done.stderr
    assert "freehold logs migrate" in done.stderr
    assert not folder.home.is_running()


def test_a_wrong_setting_is_named_and_nothing_starts(folder: Folder) -> None:
    (folder.path / "freehold.toml").write_text("[server]\nprot = 1\n")
    done = folder.run("up", "--detach", code=3)
    assert "server.prot: no such key" in done.stderr
    assert not folder.home.path.exists()


def test_reset_deletes_what_is_ours_and_keeps_what_is_not(folder: Folder) -> None:
    folder.up()
    (folder.home.path / "notes.txt").write_text("mine")
    runtime = paths.runtime(folder.home.path)
    folder.run("reset", "--yes")
    assert {path.name for path in folder.home.path.iterdir()} == {"notes.txt", MARKER}
    assert not runtime.exists()
    assert not system_folder(folder.home).exists()


def test_a_host_beyond_loopback_makes_a_key_and_shows_it_once(folder: Folder) -> None:
    first = json.loads(folder.run("up", "--detach", "--json", "--host", "0.0.0.0").stdout)
    key = first["api_key"]
    assert httpx.get(f"{first['url']}/threads/x").status_code == 401
    assert httpx.post(f"{first['url']}/threads/search", json={}, headers={"x-api-key": key}).status_code == 200
    again = json.loads(folder.run("up", "--detach", "--json", "--host", "0.0.0.0").stdout)
    assert again["api_key"] is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_while_fetching_leaves_nothing_and_says_so(folder: Folder, number: signal.Signals) -> None:
    with socket.socket() as silent:  # a model hub that takes the connection and says nothing
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        environ = {"FREEHOLD_CACHE": str(folder.path / "cache"), "HF_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        command = folder.command("up", "--detach")
        # A test run under nohup ignores SIGHUP, and its children would.
        heeded = functools.partial(signal.signal, number, signal.SIG_DFL)
        running = subprocess.Popen(
            command, cwd=folder.path, env={**os.environ, **environ}, stderr=subprocess.PIPE, text=True, preexec_fn=heeded
        )
        with silent.accept()[0]:
            running.send_signal(number)
            _, error = running.communicate()
    assert running.returncode == 130
    assert "nothing was left running" in error
    assert "Traceback" not in error
    assert not folder.home.stack_file.exists()
