"""The recorded vocabulary: one name for what engines call differently."""

from __future__ import annotations

import re

import yaml

from freehold.stack.monitoring.recording import groups, rules_file
from freehold.telemetry.metrics import declared

OWN = re.compile(r"\b(?:llm|freehold)_\w+")


def test_every_rule_has_a_name_of_its_own_and_says_what_it_is() -> None:
    rules = [rule for group in groups({"qwen": 4}) for rule in group.rules]
    assert len({rule.record for rule in rules}) == len(rules)
    assert all(re.fullmatch(r"freehold:[a-z0-9_]+(:[a-z0-9]+)?", rule.record) for rule in rules)
    assert all(rule.about.endswith(".") for rule in rules)


def test_rules_ask_for_metrics_of_ours_that_exist() -> None:
    names = {family.name for metric in declared() for family in metric.describe()}
    for group in groups():
        for rule in group.rules:
            for asked in OWN.findall(rule.expr):
                assert re.sub(r"_(total|bucket|count|sum)$", "", asked) in names or asked in names, rule


def test_the_file_holds_every_rule_as_it_was_written() -> None:
    read = yaml.safe_load(rules_file({"qwen": 4}))
    told = {(rule["record"], rule["expr"]) for group in read["groups"] for rule in group["rules"]}
    assert told == {(rule.record, rule.expr) for group in groups({"qwen": 4}) for rule in group.rules}


def test_the_cache_of_llama_cpp_is_the_share_of_the_slots_its_model_was_planned_with() -> None:
    assert 'sum by (model) (llamacpp:requests_processing{model=\\"qwen\\"}) / 4' in rules_file({"qwen": 4})
    assert "requests_processing{" not in rules_file()
