"""Rendered stacks, held to checked-in files. After a change that is meant, run this file as a script: it writes them anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from freehold.config.settings import Settings
from freehold.core.machine import GIB, Gpu, Machine
from freehold.stack.plan import plan
from freehold.targets.native.layout import Layout, Place
from freehold.targets.native.process import Rendered, User
from freehold.targets.native.render import render

GOLDEN = Path(__file__).parents[3] / "golden"
CPU = Machine("Linux", "x86_64", 8, 16 * GIB)
GPU = Machine("Linux", "x86_64", 16, 64 * GIB, (Gpu("NVIDIA L4", 24 * GIB),))
USER = User("freehold", 990, 990)
PROGRAMS = {
    "python": ("/venv/bin/python", "-P"),
    "freehold": ("/venv/bin/python", "-P", "-m", "freehold"),
    "postgres": ("/pg/bin/postgres",),
    "initdb": ("/pg/bin/initdb",),
    "valkey": ("/valkey/valkey-server",),
    "llama-server": ("/cache/llama-server",),
    "vllm": ("/cache/vllm/bin/vllm",),
}

#: Name of the golden file -> settings, machine, and whether root starts it.
CASES: dict[str, tuple[dict[str, Any], Machine, bool]] = {
    "defaults-on-a-laptop": ({}, CPU, False),
    "root-with-two-workers": ({"worker": {"count": 2}}, CPU, True),
    "gpu-open-to-the-network": ({"server": {"host": "0.0.0.0"}}, GPU, False),
    "everything-external": (
        {
            "database": {"url": "postgresql://u:p@db/x"},
            "redis": {"url": "redis://c"},
            "model": {"base_url": "http://gpu:8000/v1", "api_key": "k"},
        },
        CPU,
        False,
    ),
}


def layout(*, root: bool = False) -> Layout:
    system = Path("/var/lib/freehold/3f9a1c02")
    return Layout(
        home=Path("/project/.freehold"),
        runtime=Path("/tmp/freehold-1000-3f9a1c02"),
        project=Path("/project"),
        identity="3f9a1c02",
        programs=PROGRAMS,
        administrators=("root", "freehold") if root else ("ada",),
        config=Path("/project/freehold.toml") if root else None,
        models={"model": Path("/cache/model")},
        places={"postgres": Place(system / "postgres", system / "run", USER)} if root else {},
    )


def rendered(name: str) -> Rendered:
    tree, machine, root = CASES[name]
    return render(plan(Settings.model_validate(tree), machine, version="1"), layout(root=root), version="1")


def text(stack: Rendered) -> str:
    """As written, but for the fingerprint, which changes with every new setting."""
    return json.dumps({**json.loads(stack.to_json()), "fingerprint": "-"}, indent=2) + "\n"


@pytest.mark.parametrize("name", CASES)
def test_a_stack_renders_as_it_did(name: str) -> None:
    golden = GOLDEN / f"native-{name}.json"
    assert text(rendered(name)) == golden.read_text(), f"if the change is meant: python {Path(__file__).name}"


@pytest.mark.parametrize("name", CASES)
def test_a_rendered_stack_survives_its_file(name: str) -> None:
    stack = rendered(name)
    assert Rendered.from_json(stack.to_json()) == stack


def test_a_file_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="processes"):
        Rendered.from_json('{"name": "x", "version": "1", "fingerprint": "", "server_url": "", "processes": [{"name": 3}]}')


def test_replicas_become_numbered_processes_that_share_a_service() -> None:
    workers = [process for process in rendered("root-with-two-workers").processes if process.service == "worker"]
    assert [process.name for process in workers] == ["worker-1", "worker-2"]


def test_each_replica_says_by_a_file_of_its_own_that_it_is_ready() -> None:
    workers = [process for process in rendered("root-with-two-workers").processes if process.service == "worker"]
    told = [process.env["FREEHOLD_READY_FILE"] for process in workers]
    assert told == [process.health.target for process in workers if process.health]
    assert len(set(told)) == 2


def test_what_nothing_fills_is_left_out_with_its_variable() -> None:
    server = rendered("defaults-on-a-laptop").process("server")
    assert server is not None
    assert "FREEHOLD_CONFIG" not in server.env


def test_only_postgres_runs_as_the_service_user() -> None:
    assert {process.name: process.user for process in rendered("root-with-two-workers").processes if process.user} == {"postgres": USER}


def test_pgbouncer_reads_its_passwords_as_root_and_becomes_the_service_user() -> None:
    stack = plan(Settings.model_validate({"stack": {"services": ["pooler"]}, "model": {"engine": "none"}}), CPU, version="1")
    place = Place(Path("/var/lib/freehold/abc/pooler"), Path("/var/lib/freehold/abc/run"), USER)
    programs = {name: (f"/bin/{name}",) for name in ("postgres", "initdb", "valkey", "llama-server", "python", "freehold", "pgbouncer")}
    where = {"home": Path("/home/.freehold"), "runtime": Path("/run/x"), "project": Path("/project"), "identity": "abc"}
    layout = Layout(**where, programs=programs, administrators=("root",), places={"pooler": place})  # type: ignore[arg-type]
    process = render(stack, layout, version="1").process("pooler")
    assert process is not None
    assert process.user is None
    assert process.argv == ("/bin/pgbouncer", "-u", USER.name, "/home/.freehold/files/pooler/pgbouncer.ini")
    assert process.health and process.health.target == "/var/lib/freehold/abc/run/.s.PGSQL.6432"


def test_no_placeholder_but_secrets_is_left() -> None:
    for name in CASES:
        assert "${" not in rendered(name).to_json().replace("${secret:", "")


@pytest.mark.parametrize("machine", [CPU, GPU], ids=["llama.cpp", "vLLM"])
@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("::1", "http://[::1]:8000"),
        ("fd00::7", "http://[fd00::7]:8000"),
    ],
)
def test_the_model_server_is_reached_where_it_listens(machine: Machine, host: str, url: str) -> None:
    stack = render(plan(Settings.model_validate({"model": {"host": host}}), machine, version="1"), layout(), version="1")
    model, server = stack.process("model"), stack.process("server")
    assert model is not None
    assert model.health is not None
    assert server is not None
    assert model.argv[model.argv.index("--host") + 1] == host
    assert (model.health.target, server.env["OPENAI_BASE_URL"]) == (f"{url}/health", f"{url}/v1")


if __name__ == "__main__":
    for case in CASES:
        (GOLDEN / f"native-{case}.json").write_text(text(rendered(case)))
