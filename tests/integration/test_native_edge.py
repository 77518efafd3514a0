"""`freehold up --with edge` through the command line, on the real nginx: what somebody meets who lets others in."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from tests.support.stack_folder import Folder, free_port, make_folder

from freehold.targets.native.arrange import edge_folder

NAME = "agents.example.com"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    """A running stack with an edge that is open under a name."""
    path = tmp_path_factory.mktemp("private") / "project"
    ports = f"port = {free_port()}\nredirect_port = {free_port()}\n"
    folder = make_folder(path, f'[stack]\nservices = ["edge"]\n[edge]\n{ports}names = ["{NAME}"]\n')
    folder.up()
    yield folder
    folder.run("reset", "--yes")


def url(stack: Folder) -> str:
    port = next(
        service["ports"][0] for service in json.loads(stack.run("status", "--json").stdout)["services"] if service["name"] == "edge"
    )
    return f"https://127.0.0.1:{port}"


def trust(stack: Folder) -> ssl.SSLContext:
    shown = json.loads(stack.run("certificate", "show", "--json").stdout)
    assert NAME in shown["names"]
    return ssl.create_default_context(cafile=shown["certificate"])


def test_the_server_behind_it_is_reached_with_the_key_that_was_made(stack: Folder) -> None:
    key = (stack.home.secrets / "api_key").read_text().strip()
    with httpx.Client(base_url=url(stack), verify=trust(stack)) as client:
        assert client.get("/health").json()["ok"] is True
        assert client.get("/info").status_code == 401
        assert client.get("/info", headers={"x-api-key": key}).status_code == 200
        assert client.get("/metrics", headers={"x-api-key": key}).status_code == 404


def test_ask_reaches_it_and_trusts_the_certificate_of_its_own_stack(stack: Folder) -> None:
    refused = stack.run("ask", "hello", code=None, FREEHOLD_SERVER_URL=url(stack), FREEHOLD_API_KEY="fh_wrong")
    assert refused.returncode == 4, refused.stderr
    assert "CERTIFICATE" not in refused.stderr


def test_nginx_does_not_work_as_root_and_reads_no_key_that_others_could(stack: Folder) -> None:
    master = psutil.Process(stack.pids()["edge"])
    workers = {process.uids().effective for process in master.children()}
    assert workers and 0 not in workers
    folder = edge_folder(stack.home)
    assert not (folder / "certificate.pem").stat().st_mode & 0o007
    assert not folder.stat().st_mode & 0o007


def test_no_secret_is_in_its_configuration_or_its_command_line(stack: Folder) -> None:
    text = Path(stack.home.path / "files" / "edge" / "nginx.conf").read_text()
    line = " ".join(psutil.Process(stack.pids()["edge"]).cmdline())
    for secret in stack.home.secrets.iterdir():
        value = secret.read_text().strip()
        assert value not in text and value not in line


def test_a_renewal_that_is_not_due_changes_nothing(stack: Folder) -> None:
    before = (edge_folder(stack.home) / "certificate.pem").read_bytes()
    assert json.loads(stack.run("certificate", "renew", "--json").stdout)["done"] == "kept"
    assert (edge_folder(stack.home) / "certificate.pem").read_bytes() == before
