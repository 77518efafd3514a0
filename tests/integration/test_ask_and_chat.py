"""`freehold ask` and `freehold chat` as scripts and people run them, against a real server and worker."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from tests.api.serving import serving
from tests.support.servers import PostgresServer, ValkeyServer

_DATABASE = "ask_and_chat"


@pytest.fixture(scope="module")
def server_url(postgres: PostgresServer, valkey: ValkeyServer) -> Iterator[str]:
    """A server and a worker; the agent repeats what it is told, and "calculate" makes it call a tool first."""
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{_DATABASE}" TEMPLATE freehold_template OWNER freehold_owner')
    with serving(postgres.url(_DATABASE, "freehold_app", "app-secret"), valkey.url) as url:
        yield url


class Program:
    """The command line in an empty folder, told of a server by its environment."""

    def __init__(self, folder: Path, server_url: str | None) -> None:
        self.folder = folder
        self.environ = {**os.environ, "TERM": "dumb", **({"FREEHOLD_SERVER_URL": server_url} if server_url else {})}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-P", "-m", "freehold", *arguments]

    def run(self, *arguments: str, code: int = 0, typed: str = "") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*arguments), cwd=self.folder, env=self.environ, input=typed, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr
        return done

    def json(self, *arguments: str, typed: str = "") -> dict[str, Any]:
        return dict(json.loads(self.run(*arguments, "--json", typed=typed).stdout))


@pytest.fixture
def program(tmp_path: Path, server_url: str) -> Program:
    return Program(tmp_path, server_url)


def test_ask_json_has_everything_a_script_needs(program: Program) -> None:
    name = f"a name of my own {uuid4()}"
    answer = program.json("ask", "calculate", "--thread", name)
    assert answer["answer"] == "Done: 714"
    assert answer["thread_id"] == name
    assert answer["run_id"]
    call = {"id": "call-1", "name": "calculate", "args": {"expression": "42 * 17"}, "result": "714", "status": "success"}
    assert answer["tool_calls"] == [call]
    assert (answer["sources"], answer["interrupts"]) == ([], [])
    assert answer["usage"]["output_tokens"] == 2
    assert answer["seconds"] > 0


def test_a_follow_up_on_the_same_thread_remembers(program: Program) -> None:
    first = program.json("ask", "one")
    again = program.json("ask", "two", "--thread", first["thread_id"])
    other = program.json("ask", "three")
    assert again["usage"]["input_tokens"] == 3  # both questions and the first answer
    assert other["usage"]["input_tokens"] == 1
    assert again["thread_id"] == first["thread_id"] != other["thread_id"]


def test_the_question_is_read_from_standard_input(program: Program) -> None:
    assert program.json("ask", typed="from a pipe")["answer"] == "from a pipe"


def test_in_a_pipe_the_answer_alone_is_on_stdout_and_tool_calls_are_on_stderr(program: Program) -> None:
    done = program.run("ask", "calculate")
    assert done.stdout == "Done: 714\n"
    assert "→ calculate(expression='42 * 17')" in done.stderr
    assert "← 714" in done.stderr


def test_no_question_is_an_error_of_use(program: Program) -> None:
    assert "there is no question" in program.run("ask", code=2, typed=" \n").stderr


def test_an_unknown_agent_is_named_and_the_nearest_one_offered(program: Program) -> None:
    error = program.run("ask", "hello", "--agent", "talkr", code=1).stderr
    assert "talkr" in error
    assert "talker" in error
    assert "Traceback" not in error


def test_a_graph_that_cannot_be_talked_to_says_what_to_use_instead(program: Program) -> None:
    error = program.run("ask", "hello", "--agent", "echo", code=1).stderr
    assert 'keeps no "messages"' in error
    assert "POST /runs/wait" in error


def test_a_server_that_does_not_run_is_exit_code_5_with_the_next_step(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))  # taken, but nobody listens
        program = Program(tmp_path, f"http://127.0.0.1:{probe.getsockname()[1]}")
        assert "`freehold status` says why" in program.run("ask", "hello", code=5).stderr
        answer = json.loads(program.run("ask", "hello", "--json", code=5).stderr)
    assert "does not answer" in answer["error"]["message"]


def test_a_folder_without_a_stack_says_how_to_start_one(tmp_path: Path) -> None:
    assert "freehold up" in Program(tmp_path, None).run("ask", "hello", code=3).stderr


def test_chat_without_a_terminal_points_to_ask(program: Program) -> None:
    assert "freehold ask" in program.run("chat", code=2, typed="hello").stderr


class Terminal:
    """A person at a terminal."""

    def __init__(self, program: Program, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            program.command(*arguments), cwd=program.folder, env=program.environ, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        self._unread = ""

    def until(self, pattern: str) -> str:
        """What is shown up to this; fails where the program ends before."""
        while not (found := re.search(pattern, self._unread)):
            self._unread += os.read(self._ours, 4096).decode(errors="replace")
        shown, self._unread = self._unread[: found.end()], self._unread[found.end() :]
        return shown

    def interrupt_until(self, pattern: str) -> str:
        """Press Ctrl-C until it is answered: one that comes between a prompt and the wait for input is answered by the next key."""
        while not re.search(pattern, self._unread):
            self.process.send_signal(signal.SIGINT)
            while select.select([self._ours], [], [], 0.3)[0] and not re.search(pattern, self._unread):
                self._unread += os.read(self._ours, 4096).decode(errors="replace")
        return self.until(pattern)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def terminal(program: Program) -> Iterator[Terminal]:
    """A chat that has shown its first prompt."""
    terminal = Terminal(program, "chat", "--thread", f"chat {uuid4()}")
    try:
        terminal.until(r"\n> ")
        yield terminal
    finally:
        terminal.close()


def test_chat_shows_tool_calls_and_the_answer_and_control_d_ends_it(terminal: Terminal) -> None:
    terminal.type("calculate\n")
    shown = terminal.until(r"\n> ")
    assert re.search(r"→ calculate\(expression='42 \* 17'\).*← 714.*Done: 714", shown, re.DOTALL)
    terminal.type("\x04")
    assert terminal.process.wait() == 0


def test_new_begins_another_conversation_and_quit_ends(terminal: Terminal) -> None:
    terminal.type("/thread\n")
    assert "chat " in terminal.until(r"\n> ")
    terminal.type("/new\n")
    assert "a new conversation" in terminal.until(r"\n> ")
    terminal.type("/thread\n")
    assert re.search(r"\n[0-9a-f]{8}-[0-9a-f-]{27}", terminal.until(r"\n> "))
    terminal.type("/quit\n")
    assert terminal.process.wait() == 0


def test_control_c_stops_the_answer_and_the_conversation_goes_on(terminal: Terminal, postgres: PostgresServer) -> None:
    terminal.interrupt_until(r"Ctrl-D ends[^>]*> ")
    terminal.type("think for ever\n")
    with psycopg.connect(postgres.url(_DATABASE), autocommit=True) as conn:
        while conn.execute("SELECT FROM freehold.runs WHERE status = 'running'").fetchone() is None:
            time.sleep(0.05)
    terminal.process.send_signal(signal.SIGINT)
    terminal.until(r"\(stopped\)[^>]*> ")
    terminal.type("\x04")
    assert terminal.process.wait() == 0


def test_kill_ends_a_chat(terminal: Terminal) -> None:
    terminal.process.terminate()
    assert terminal.process.wait() != 0
