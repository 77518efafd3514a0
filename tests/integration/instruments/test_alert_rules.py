"""Rules and configuration as Prometheus' and Alertmanager's own tools see them, and every alert from its condition to its end."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.integration.instruments.rule_cases import CASES, STEP, Case
from tests.support.distribution import program

from freehold.config.settings import Settings
from freehold.core.machine import GIB, Machine
from freehold.stack.monitoring.alert import Watched, rules_file
from freehold.stack.monitoring.alerts import alerts, groups
from freehold.stack.monitoring.recording import rules_file as recording_file
from freehold.stack.plan import plan

#: Seconds between two looks at the rules.
EVALUATION = 60
WATCHED = Watched(jobs=("server", "model"), models=("model",), workers=2, slots=20)
NOTIFY = {
    "webhook_url": "https://alerts.example.com",
    "webhook_token": "hush",
    "slack_url": "https://hooks.slack.com/services/x",
    "slack_channel": "#alerts",
    "email_to": ["ops@example.com"],
    "email_from": "freehold@example.com",
    "smtp_address": "smtp.example.com:587",
    "smtp_user": "freehold",
    "smtp_password": "hush",
    "heartbeat_url": "https://heartbeat.example.com",
}


def checked(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both rule files."""
    folder = tmp_path_factory.mktemp("rules")
    (folder / "recording.yml").write_text(recording_file({"m": 2}))
    (folder / "alerts.yml").write_text(rules_file(groups(WATCHED), runbooks="docs/runbooks/alerts.md"))
    return folder


def test_promtool_finds_nothing_wrong_with_the_rules(rules: Path) -> None:
    promtool = program("prometheus", "promtool")
    assert "SUCCESS" in checked(*promtool, "check", "rules", str(rules / "recording.yml"), str(rules / "alerts.yml"))


@pytest.mark.parametrize("target", ["native", "compose"])
def test_the_tools_find_nothing_wrong_with_the_files_of_a_stack(tmp_path: Path, target: str) -> None:
    tree = {"stack": {"services": ["monitoring"], "target": target}, "monitoring": {"notify": NOTIFY}, "server": {"auth": "keys"}}
    stack = plan(Settings.model_validate(tree), Machine("Linux", "x86_64", 8, 16 * GIB), version="1")
    for service in ("prometheus", "alertmanager"):
        for file in stack.service(service).files:  # type: ignore[union-attr]
            assert "hush" not in file.text
            (tmp_path / file.name).write_text(_filled(file.text, tmp_path))
    checked(*program("prometheus", "promtool"), "check", "config", str(tmp_path / "prometheus.yml"))
    checked(*program("alertmanager", "amtool"), "check-config", str(tmp_path / "alertmanager.yml"))


def _filled(text: str, folder: Path) -> str:
    """With an address and an existing file for each placeholder."""
    import re

    (folder / "secret").write_text("x")
    text = re.sub(r"\$\{secret_file:[a-z_]+\}", str(folder / "secret"), text)
    return re.sub(r"\$\{(address|host):[a-z.-]+\}", "127.0.0.1:1", text)


def test_every_alert_has_a_case() -> None:
    assert {case.alert for case in CASES} | {"Watchdog"} == {alert.name for alert in alerts(WATCHED)}


@pytest.mark.parametrize("group", range(4))
def test_every_alert_fires_while_its_condition_holds_and_resolves_after_it(rules: Path, group: int) -> None:
    """Each with the recorded series and itself alone: all rules over all series would take minutes."""
    cases = [case for index, case in enumerate(CASES) if index % 4 == group]
    checked(*program("prometheus", "promtool"), "test", "rules", *(_file(rules, index, case) for index, case in enumerate(cases)))


def test_the_watchdog_always_fires(rules: Path) -> None:
    path = _write(rules, "Watchdog", _expect("Watchdog", [], [("60s", True)]), "watchdog")
    checked(*program("prometheus", "promtool"), "test", "rules", path)


def _file(rules: Path, index: int, case: Case) -> str:
    return _write(rules, case.alert, _expect(case.alert, case.series, case.moments), f"{case.alert}-{index}")


def _write(rules: Path, name: str, test: dict[str, Any], file: str) -> str:
    alert = next(alert for alert in alerts(WATCHED) if alert.name == name)
    (rules / f"{name}.yml").write_text(rules_file([("one", [alert])], runbooks="x"))
    recorded = ["recording.yml"] if "freehold:" in alert.expr else []
    tree = {"rule_files": [*recorded, f"{name}.yml"], "evaluation_interval": f"{EVALUATION}s", "tests": [test]}
    path = rules / f"test-{file}.yml"
    path.write_text(yaml.safe_dump(tree))
    return str(path)


def _expect(alert: str, series: list[dict[str, str]], moments: list[tuple[str, bool]]) -> dict[str, Any]:
    firing = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
    looks = [{"expr": firing, "eval_time": at, "exp_samples": [{"labels": "{}", "value": int(fires)}]} for at, fires in moments]
    return {"interval": f"{STEP}s", "input_series": series, "promql_expr_test": looks}
