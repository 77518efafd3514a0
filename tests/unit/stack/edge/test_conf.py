"""nginx.conf for several sites, held to checked-in files and to the real nginx. After a change that is meant, run this as a script."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.support.nginx import filled

from freehold.config.settings import Settings
from freehold.stack.edge.conf import nginx_conf
from freehold.stack.edge.site import site
from freehold.stack.service import Port, Service

GOLDEN = Path(__file__).parents[3] / "golden"

#: Name of the golden file -> settings, and services that run beside the agent server.
CASES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "this-machine-only": ({}, ()),
    "a-name-and-everything-behind-it": (
        {
            "edge": {
                "host": "0.0.0.0",
                "port": 443,
                "redirect_port": 80,
                "names": ["agents.example.com"],
                "webui_name": "chat.example.com",
                "expose": ["grafana", "mlflow"],
                "tls": "acme",
                "trusted_proxies": ["10.0.0.0/8"],
                "requests_per_second": 0.5,
            }
        },
        ("gateway", "webui", "grafana", "mlflow"),
    ),
    "containers": ({"stack": {"target": "compose"}, "edge": {"names": ["agents.example.com"]}}, ("gateway", "webui")),
    "passwords": ({"edge": {"auth": "basic", "users": "users"}}, ("gateway", "webui")),
}


def conf(name: str) -> str:
    tree, others = CASES[name]
    services = [Service(other, other, ports=(Port(1, "127.0.0.1", ""),)) for other in others]
    return nginx_conf(site(Settings.model_validate(tree), services))


@pytest.mark.parametrize("name", CASES)
def test_a_configuration_is_written_as_it_was(name: str) -> None:
    assert conf(name) == (GOLDEN / f"edge-{name}.conf").read_text(), f"if the change is meant: python {Path(__file__).name}"


@pytest.mark.parametrize("name", [name for name in CASES if name != "containers"])
def test_nginx_takes_each_configuration(name: str, nginx_program: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "nginx.conf").write_text(filled(conf(name), tmp_path, ports={}))
    checked = subprocess.run(
        [*nginx_program, "-p", str(tmp_path), "-e", "stderr", "-c", str(tmp_path / "nginx.conf"), "-t"], capture_output=True
    )
    assert checked.returncode == 0, checked.stderr.decode()
    assert b"warn" not in checked.stderr


def test_in_containers_only_what_a_wheel_has_not_is_added(nginx_program: tuple[str, ...], tmp_path: Path) -> None:
    text = filled(conf("containers"), tmp_path, ports={}).replace("stub_status;", "return 200;")
    (tmp_path / "nginx.conf").write_text(text)
    checked = subprocess.run(
        [*nginx_program, "-p", str(tmp_path), "-e", "stderr", "-c", str(tmp_path / "nginx.conf"), "-t"], capture_output=True
    )
    assert checked.returncode == 0, checked.stderr.decode()


@pytest.mark.parametrize("name", CASES)
def test_no_line_of_the_log_holds_a_query_a_credential_or_a_cookie(name: str) -> None:
    logged = re.findall(r"log_format .*", conf(name))
    assert len(logged) == 1
    assert not re.search(
        r"\$(request\b|request_uri|args|query_string|is_args|http_(authorization|cookie|x_api_key|referer)|credential)", logged[0]
    )


@pytest.mark.parametrize("name", CASES)
def test_nothing_but_hashes_of_credentials_is_counted_by(name: str) -> None:
    zones = re.findall(r"limit_(?:req|conn)_zone (\S+)", conf(name))
    assert set(zones) == {"$binary_remote_addr", "$credential_hash"}


if __name__ == "__main__":
    for case in CASES:
        (GOLDEN / f"edge-{case}.conf").write_text(conf(case))
