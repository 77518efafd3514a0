"""The real Open WebUI, started by `freehold up`: its first administrator talks with an agent that calls a tool, and nobody else gets in."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from tests.integration.test_native_stack import Folder, free_port

pytestmark = pytest.mark.slow  # 900 MB of packages


@dataclass(frozen=True)
class Page:
    """Open WebUI beside a server that takes keys."""

    folder: Folder
    url: str
    password: str

    def sign_in(self, password: str) -> httpx.Response:
        return httpx.post(f"{self.url}/api/v1/auths/signin", json={"email": "admin@localhost", "password": password}, timeout=60)

    def as_administrator(self) -> httpx.Client:
        token = self.sign_in(self.password).json()["token"]
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=120)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder, port = Folder(tmp_path_factory.mktemp("webui"), free_port()), free_port()
    with subprocess.Popen([sys.executable, "-m", "freehold.lab.scripted_model"], stdout=subprocess.PIPE, text=True) as model:
        assert model.stdout is not None
        (folder.path / "freehold.toml").write_text(
            f'[stack]\nservices = ["webui"]\n[server]\nport = {folder.port}\nauth = "keys"\n[webui]\nport = {port}\n'
            f'[model]\nname = "scripted"\nbase_url = "{model.stdout.readline().strip()}"\n'
        )
        yield Page(folder, f"http://127.0.0.1:{port}", folder.up()["webui_password"])
        folder.run("reset", "--yes")
        model.terminate()


def test_agents_and_models_are_in_its_list(page: Page) -> None:
    with page.as_administrator() as client:
        assert {model["id"] for model in client.get("/api/models").json()["data"]} == {"assistant", "scripted"}


def test_an_agent_answers_with_what_its_tool_said(page: Page) -> None:
    body = {"model": "assistant", "messages": [{"role": "user", "content": "What is 12 + 30?"}]}
    with page.as_administrator() as client:
        answer = client.post("/api/chat/completions", json=body).json()
    assert answer["choices"][0]["message"]["content"] == "The result is 12 + 30 = 42."


def test_only_who_knows_the_password_gets_in_and_nobody_makes_an_account(page: Page) -> None:
    assert page.sign_in("admin").status_code == 400
    account = {"email": "eve@example.com", "name": "Eve", "password": "correct horse battery"}
    assert httpx.post(f"{page.url}/api/v1/auths/signup", json=account).status_code == 403


def test_pages_of_other_origins_are_not_answered(page: Page) -> None:
    answer = httpx.get(f"{page.url}/api/config", headers={"Origin": "http://evil.example"})
    assert "access-control-allow-origin" not in answer.headers


def test_a_password_is_shown_once(page: Page) -> None:
    assert page.folder.up()["webui_password"] is None


def test_nothing_was_fetched_or_refused(page: Page) -> None:
    text = page.folder.home.log("webui").read_text()
    assert not [word for word in ("Traceback", "huggingface.co", "ModuleNotFoundError") if word in text]
