"""Findings as tables: what is looked at, how bad it is, and what to do."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.conftest import Database

from freehold.config import load, paths
from freehold.control.protocol import socket_path
from freehold.operate import doctor
from freehold.operate.doctor import Finding, examine
from freehold.targets.native import leftovers, supervisor
from freehold.targets.native.home import Home
from freehold.targets.native.leftovers import Child


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    return home


@pytest.fixture
async def endpoint() -> Any:
    """An OpenAI-compatible endpoint that answers /models with the status the test sets."""
    status = {"code": 200}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status['code']} X\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}".encode())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        status["port"] = server.sockets[0].getsockname()[1]
        yield status


async def findings(home: Home, **overrides: Any) -> dict[str, Finding]:
    found = await examine(load.load(overrides={"model.engine": "none", **overrides}), home)
    return {finding.check: finding for finding in found}


async def test_a_sound_machine_without_a_stack_has_nothing_that_fails(home: Home) -> None:
    found = await findings(home, **{"server.port": 18999})
    assert [finding for finding in found.values() if finding.level == "fail"] == []
    assert (found["stack"].level, found["stack"].todo) == ("warn", "freehold up")
    assert {"python", "configuration", "folders", "disk", "memory", "gpu", "ports", "stack"} <= set(found)


async def test_a_supervisor_that_does_not_answer_sensibly_is_a_finding(home: Home) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b'{"type": "of a later version"}\n')
        writer.close()

    folder = paths.make_private(paths.runtime(home.path))
    lock = supervisor.lock(home)
    try:
        async with await asyncio.start_unix_server(talk, str(socket_path(folder))):
            stack = (await findings(home))["stack"]
    finally:
        os.close(lock)
        shutil.rmtree(folder)
    assert (stack.level, stack.todo) == ("fail", "`freehold down`, then `freehold up`")
    assert "of another version" in stack.message


async def test_every_finding_that_fails_says_what_to_do(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.arrange, "SMALLEST_FREE_BYTES", 10**18)
    found = await findings(home, **{"database.url": "postgresql://u@127.0.0.1:9/x", "redis.url": "redis://127.0.0.1:9"})
    failed = {name: finding for name, finding in found.items() if finding.level == "fail"}
    assert set(failed) == {"disk", "database", "valkey"}
    assert all(finding.todo for finding in failed.values())


async def test_what_cannot_be_planned_is_a_finding(home: Home) -> None:
    found = await findings(home, **{"model.engine": "llama.cpp", "model.name": "qwen9"})
    assert found["plan"].level == "fail"
    assert 'no model "qwen9"' in found["plan"].message


async def test_secrets_that_others_may_read_are_named_with_the_command(home: Home) -> None:
    (home.secrets / "word").write_text("x")
    (home.secrets / "word").chmod(0o644)
    finding = (await findings(home))["folders"]
    assert (finding.level, finding.todo) == ("warn", f"chmod go= {home.secrets / 'word'}")


async def test_what_a_killed_supervisor_left_is_found(home: Home) -> None:
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        leftovers.write(home.processes_file, [Child("postgres", sleeper.pid, psutil.Process(sleeper.pid).create_time())])
        finding = (await findings(home))["stack"]
        sleeper.kill()
    assert (finding.level, finding.todo) == ("fail", "freehold down")
    assert "postgres" in finding.message


async def test_a_database_and_streams_of_ones_own_are_asked_for_their_versions(home: Home, database: Database, valkey_url: str) -> None:
    found = await findings(home, **{"database.url": database.app_url, "redis.url": valkey_url})
    assert found["database"].message.startswith("PostgreSQL 18")
    assert found["pgvector"].level == "ok"
    assert found["valkey"].message.startswith("Valkey 9")


@pytest.mark.parametrize("version", [(99, 0, 0)])
async def test_an_old_pgvector_fails(home: Home, database: Database, monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...]) -> None:
    monkeypatch.setattr(doctor, "MINIMUM_PGVECTOR", version)
    finding = (await findings(home, **{"database.url": database.app_url}))["pgvector"]
    assert finding.level == "fail"
    assert finding.todo is not None
    assert "upgrade it to 99.0.0" in finding.todo


@pytest.mark.parametrize(
    ("code", "level", "words"),
    [(200, "ok", "answers"), (401, "fail", "refuses the key"), (404, "warn", "HTTP 404")],
)
async def test_an_endpoint_is_asked_for_its_models(home: Home, endpoint: dict[str, int], code: int, level: str, words: str) -> None:
    endpoint["code"] = code
    found = await findings(home, **{"model.engine": "openai", "model.base_url": f"http://127.0.0.1:{endpoint['port']}/v1"})
    assert found["engine"].level == level
    assert words in found["engine"].message


async def test_an_endpoint_that_is_away_fails(home: Home) -> None:
    found = await findings(home, **{"model.engine": "openai", "model.base_url": "http://127.0.0.1:9/v1"})
    assert found["engine"].level == "fail"
    assert "does not answer" in found["engine"].message


@pytest.mark.parametrize("there", [True, False])
async def test_an_engine_that_is_missing_is_no_failure_because_up_makes_it(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    monkeypatch.setenv("FREEHOLD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FREEHOLD_LLAMA_SERVER", raising=False)
    for name in ("cc", "c++") if there else ():
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = (await findings(home, **{"model.engine": "llama.cpp"}))["engine"]
    assert finding.level == "warn"
    assert ("it cannot be built here" in finding.message) is not there


async def test_a_taken_port_is_found_while_nothing_runs(home: Home, endpoint: dict[str, int]) -> None:
    finding = (await findings(home, **{"server.port": endpoint["port"]}))["ports"]
    assert finding.level == "fail"
    assert str(os.getpid()) in finding.message


async def test_a_program_of_an_optional_service_is_named_with_its_size_until_it_is_here(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FREEHOLD_CACHE", str(tmp_path / "cache"))
    wanted = {"stack.services": ["gateway"], "model.engine": "openai", "model.base_url": "http://127.0.0.1:1/v1"}
    found = (await findings(home, **wanted))["programs"]
    assert found.level == "warn"
    assert found.message.startswith("litellm (") and "`freehold up` fetches it" in found.message
