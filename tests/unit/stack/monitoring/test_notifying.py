"""Who hears of which alert, and which keep quiet."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from freehold.config.monitoring import NotifySection
from freehold.stack.monitoring.alert import Watched
from freehold.stack.monitoring.alerts import alerts
from freehold.stack.monitoring.notifying import alertmanager_file

WATCHED = Watched(jobs=("server", "model"), models=("model",), workers=1, slots=10)


def written(**notify: Any) -> tuple[dict[str, Any], str]:
    text = alertmanager_file(NotifySection.model_validate(notify), alerts(WATCHED))
    return yaml.safe_load(text), text


def receiver(tree: dict[str, Any], name: str) -> dict[str, Any]:
    return dict(next(found for found in tree["receivers"] if found["name"] == name))


def test_without_receivers_alerts_are_kept_and_sent_to_nobody() -> None:
    tree, _ = written()
    assert receiver(tree, "people") == {"name": "people"}


@pytest.mark.parametrize(
    ("notify", "kind", "file"),
    [
        ({"webhook_url": "https://a.example", "webhook_token": "hush"}, "webhook_configs", "alert_webhook_token"),
        ({"slack_url": "https://hooks.slack.com/hush"}, "slack_configs", "alert_slack_url"),
        (
            {"email_to": ["a@b.example"], "email_from": "c@b.example", "smtp_address": "m.example:25", "smtp_password": "hush"},
            "email_configs",
            "alert_smtp_password",
        ),
    ],
)
def test_secrets_of_a_receiver_are_read_from_files(notify: dict[str, Any], kind: str, file: str) -> None:
    tree, text = written(**notify)
    assert len(receiver(tree, "people")[kind]) == 1
    assert "hush" not in text
    assert f"${{secret_file:{file}}}" in text


def test_the_watchdog_goes_to_the_heartbeat_and_to_no_person() -> None:
    tree, _ = written(webhook_url="https://a.example", heartbeat_url="https://h.example")
    (route,) = tree["route"]["routes"]
    assert (route["receiver"], route["matchers"]) == ("heartbeat", ['alertname="Watchdog"'])
    assert receiver(tree, "heartbeat")["webhook_configs"][0]["url"] == "https://h.example"


def test_what_follows_from_a_service_that_is_down_keeps_quiet() -> None:
    rules = written()[0]["inhibit_rules"]
    of_the_model = next(rule for rule in rules if 'job="model"' in rule["source_matchers"])
    assert of_the_model["source_matchers"][0] == 'alertname=~"TargetDown|TargetMissing"'
    assert "ModelErrors" in of_the_model["target_matchers"][0]


def test_every_alert_that_explains_another_exists_and_none_explains_itself() -> None:
    names = {alert.name for alert in alerts(WATCHED)}
    for alert in alerts(WATCHED):
        assert set(alert.explained_by) <= names - {alert.name}


def test_every_alert_says_what_it_means_where_to_look_and_what_to_do() -> None:
    found = alerts(WATCHED)
    assert len({alert.anchor for alert in found}) == len(found)
    for alert in found:
        assert all((alert.summary, alert.means, alert.look, alert.do)), alert.name
