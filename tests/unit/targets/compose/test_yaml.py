"""The YAML that is written says what it was given, to any reader."""

from __future__ import annotations

import pytest
import yaml

from freehold.targets.compose.yaml import Alias, Anchored, Commented, Value, document


@pytest.mark.parametrize(
    "value",
    [
        "plain", "10001:10001", "no", "On", "null", "1e3", "0x1f", "3.14", "007", "", " padded ", "a: b", "a #b", "- x", "--option", "-",
        "./files/x:/etc/x:ro", "http://a:1/b",
        "10m", "10s", "{{secret:x}}", "üñí", "tab\there", "new\nline", "a\nb\n", "a\n  b\n\nc: #d\n",
        " a\nb\n", "a\nb\n\n", "a \nb\n", "a\n\tb\n", "'single'", '"double"', "*star",
        "&and", "!bang", "%percent", "@at", "`tick`", "a,b", "[x]", "12:30:45", "=", "~", "<<", True, False, 0, 1.5, None,
    ],
)  # fmt: skip
def test_a_value_comes_back_as_it_was(value: Value) -> None:
    assert yaml.safe_load(document({"key": value, "list": [value, "x"], "deep": {"er": [{"a": value, "b": [value]}]}})) == {
        "key": value,
        "list": [value, "x"],
        "deep": {"er": [{"a": value, "b": [value]}]},
    }


def test_long_command_lines_have_an_option_on_each_line() -> None:
    args = ["serve", *(word for number in range(12) for word in (f"--option-{number}", f"value {number}"))]
    text = document({"command": args})
    assert yaml.safe_load(text) == {"command": args}
    assert '    --option-3, "value 3",' in text.splitlines()


def test_what_has_a_name_is_taken_over_by_it() -> None:
    text = document({"x-a": Anchored("a", {"one": 1}), "x-b": Anchored("b", {"two": 2}), "c": {"<<": [Alias("a"), Alias("b")], "one": 3}})
    assert yaml.safe_load(text)["c"] == {"one": 3, "two": 2}


def test_comments_stand_above_what_they_are_about() -> None:
    text = document({"services": Commented({"a": {"x": 1}, "b": {"y": 2}}, {"b": "the second"})}, "Head\n\nof it")
    assert text.startswith("# Head\n#\n# of it\n\nservices:")
    assert "  # the second\n  b:\n" in text


def test_nothing_is_an_empty_mapping_or_list() -> None:
    assert yaml.safe_load(document({"a": {}, "b": [], "c": [{}]})) == {"a": {}, "b": [], "c": [{}]}
