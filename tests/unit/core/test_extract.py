"""Which paths may be taken out of a thread, and that nothing else gets through."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.core.errors import InvalidRequest
from freehold.core.extract import ROOTS, Path, parse_path, parse_paths

QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')


@pytest.mark.parametrize(
    ("text", "path", "jsonpath"),
    [
        ("values", Path("values"), "strict $"),
        ("values.messages[-1].content", Path("values", ("messages", -1, "content")), 'strict $."messages"[last - 0]."content"'),
        ("values.messages[2]", Path("values", ("messages", 2)), 'strict $."messages"[2]'),
        ("values.messages[*].id", Path("values", ("messages", None, "id")), 'strict $."messages"[*]."id"'),
        ('metadata["a.b"]', Path("metadata", ("a.b",)), 'strict $."a.b"'),
        ("interrupts", Path("interrupts"), "strict $"),
        ("values.user-name.größe", Path("values", ("user-name", "größe")), 'strict $."user-name"."gr\\u00f6\\u00dfe"'),
    ],
)
def test_paths_are_read_into_keys_and_positions(text: str, path: Path, jsonpath: str) -> None:
    assert (parse_path(text), path.jsonpath) == (path, jsonpath)


@pytest.mark.parametrize(
    "text",
    ["", "status", "thread_id", "value.x", "valuesx", "values.", "values..x", "values[", "values[1:2]", "values[x]", "$.values",
     "values.a b", "values.a'--", 'values["a\\"]', "values.a;DROP TABLE threads", "values[?(@.x)]", "values.$.x", "values[99999999]",
     "values" + ".a" * 21],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="extract"):
        parse_path(text)


def test_names_are_plain_and_there_are_at_most_ten() -> None:
    assert set(parse_paths({"last_message": "values.messages[-1]"})) == {"last_message"}
    for names in (["a b"], ["1a"], ["a'"], [""], [f"a{number}" for number in range(11)]):
        with pytest.raises(InvalidRequest, match="extract"):
            parse_paths(dict.fromkeys(names, "values"))


@given(st.sampled_from(ROOTS), st.text(max_size=40))
def test_whatever_is_written_becomes_quoted_keys_and_numbers_or_is_refused(root: str, rest: str) -> None:
    try:
        path = parse_path(root + rest)
    except InvalidRequest:
        return
    bare = QUOTED.sub("", path.jsonpath)
    assert re.fullmatch(r"strict \$(?:\.|\[\d+\]|\[last - \d+\]|\[\*\])*", bare)
    assert [json.loads(key) for key in QUOTED.findall(path.jsonpath)] == [step for step in path.steps if isinstance(step, str)]
