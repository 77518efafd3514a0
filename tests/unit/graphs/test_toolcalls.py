"""Which texts are tool calls, and which only look like one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.graphs.toolcalls import Holdback, Reading, ToolSchema, fit, mend, read

CALCULATE = ToolSchema("calculate", {"properties": {"expression": {"type": "string"}}, "required": ["expression"]})
SEARCH = ToolSchema(
    "search_knowledge_base",
    {"properties": {"query": {"type": "string"}, "limit": {"type": "integer"}, "exact": {"type": "boolean"}}, "required": ["query"]},
)
TIME = ToolSchema("current_time", {"properties": {"timezone": {"type": "string"}}})
TOOLS = (CALCULATE, SEARCH, TIME)

SUM = {"expression": "42 * 17"}
CALL = '{"name": "calculate", "arguments": {"expression": "42 * 17"}}'

CALLS = {
    "bare": (CALL, "calculate", SUM),
    "bare over lines": (json.dumps(json.loads(CALL), indent=2), "calculate", SUM),
    "fenced as json": (f"```json\n{CALL}\n```", "calculate", SUM),
    "fenced without a language": (f"```\n{CALL}\n```", "calculate", SUM),
    "fenced and never closed": (f"```json\n{CALL}", "calculate", SUM),
    "tagged": (f"<tool_call>\n{CALL}\n</tool_call>", "calculate", SUM),
    "tagged and never closed": (f"<tool_call>\n{CALL}", "calculate", SUM),
    "tags inside a fence": (f"```xml\n<tool_call>{CALL}</tool_call>\n```", "calculate", SUM),
    "single quotes": ("{'name': 'calculate', 'arguments': {'expression': '42 * 17'}}", "calculate", SUM),
    "python literals": (
        "{'name': 'search_knowledge_base', 'arguments': {'query': 'x', 'exact': True}}",
        "search_knowledge_base",
        {"query": "x", "exact": True},
    ),
    "a trailing comma": ('{"name": "calculate", "arguments": {"expression": "42 * 17",},}', "calculate", SUM),
    "a missing last brace": ('{"name": "calculate", "arguments": {"expression": "42 * 17"}', "calculate", SUM),
    "doubled outer braces": ('{{"name": "calculate", "arguments": {"expression": "42 * 17"}}}}', "calculate", SUM),
    "all braces doubled": ('{{"name": "calculate", "arguments": {{"expression": "42 * 17"}}}}', "calculate", SUM),
    "parameters": ('{"name": "calculate", "parameters": {"expression": "42 * 17"}}', "calculate", SUM),
    "function as name": ('{"function": "calculate", "arguments": {"expression": "42 * 17"}}', "calculate", SUM),
    "nested function": (
        '{"type": "function", "function": {"name": "calculate", "arguments": {"expression": "42 * 17"}}}',
        "calculate",
        SUM,
    ),
    "with an id": ('{"id": "1", "type": "function", "name": "calculate", "arguments": {"expression": "42 * 17"}}', "calculate", SUM),
    "arguments as text": ('{"name": "calculate", "arguments": "{\\"expression\\": \\"42 * 17\\"}"}', "calculate", SUM),
    "arguments as the value": ('{"name": "calculate", "arguments": "42 * 17"}', "calculate", SUM),
    "action and input": ('{"action": "calculate", "action_input": {"expression": "42 * 17"}}', "calculate", SUM),
    "tool and args": ('{"tool": "calculate", "args": {"expression": "42 * 17"}}', "calculate", SUM),
    "tool name as the key": ('{"calculate": {"expression": "42 * 17"}}', "calculate", SUM),
    "a list of one": (f"[{CALL}]", "calculate", SUM),
    "tool_calls": ('{"tool_calls": [' + CALL + "]}", "calculate", SUM),
    "a name nearly right": ('{"name": "calculator", "arguments": {"expression": "42 * 17"}}', "calculate", SUM),
    "a name in other writing": (
        '{"name": "searchKnowledgeBase", "arguments": {"query": "leave"}}',
        "search_knowledge_base",
        {"query": "leave"},
    ),
    "a name with a prefix": ('{"name": "functions.calculate", "arguments": {"expression": "42 * 17"}}', "calculate", SUM),
    "a number as text": (
        '{"name": "search_knowledge_base", "arguments": {"query": "x", "limit": "3"}}',
        "search_knowledge_base",
        {"query": "x", "limit": 3},
    ),
    "text as a number": ('{"name": "calculate", "arguments": {"expression": 714}}', "calculate", {"expression": "714"}),
    "an argument under another name": ('{"name": "calculate", "arguments": {"formula": "42 * 17"}}', "calculate", SUM),
    "null for what is optional": ('{"name": "current_time", "arguments": {"timezone": null}}', "current_time", {}),
    "no arguments": ('{"name": "current_time", "arguments": {}}', "current_time", {}),
    "after an announcement": (f"I'll use the calculator.\n```json\n{CALL}\n```", "calculate", SUM),
    "after letting it": (f"Let me calculate that for you:\n\n{CALL}", "calculate", SUM),
    "after a purpose": (f"To calculate 42 * 17, I will use the calculate function.\n\n```json\n{CALL}\n```", "calculate", SUM),
    "after thinking": (f"<think>The user wants a product. Example: 2*2.</think>\n{CALL}", "calculate", SUM),
    "the marker of another family": (f"[TOOL_CALLS][{CALL}]", "calculate", SUM),
}

NOT_CALLS = {
    "a plain answer": "The result of 42 * 17 is 714.",
    "an empty message": "",
    "blank lines": "\n\n  \n",
    "a quoted call in prose": f"The model answered {CALL} and stopped.",
    "an example": f"Here is an example of a tool call:\n```json\n{CALL}\n```",
    "an example, politely": f"Sure! For example:\n```json\n{CALL}\n```",
    "how you would": f"To call the tool you would write:\n{CALL}",
    "what you can write": f"To calculate this, you can use the following call:\n```json\n{CALL}\n```",
    "a warning": f"Do not run this:\n```json\n{CALL}\n```",
    "a warning, first person": f"I should never send this:\n{CALL}",
    "what the log shows": f"The log shows:\n```json\n{CALL}\n```",
    "what the user sent": f"I see the user sent\n```json\n{CALL}\n```",
    "a format": f"Let me describe the format:\n```json\n{CALL}\n```",
    "json announced": f"Sure, here is the JSON:\n```json\n{CALL}\n```",
    "a payload": f"Okay, the payload is\n```json\n{CALL}\n```",
    "imagined": f"Let's imagine a call:\n```json\n{CALL}\n```",
    "documentation": f"First, from the documentation:\n{CALL}",
    "a call and an explanation": f"```json\n{CALL}\n```\nThis calls the calculator with the product.",
    "a call and an answer": f"{CALL}\nThe result is 714.",
    "text between two calls": f"```json\n{CALL}\n```\nand then\n```json\n{CALL}\n```",
    "a long announcement": "I will use the calculator. " * 12 + f"\n```json\n{CALL}\n```",
    "inline code": f"`{CALL}`",
    "a call in the middle of a line": f"I'll use {CALL}",
    "a block quote": f"> {CALL}",
    "a list item": f"- {CALL}",
    "a table": f"| call |\n| --- |\n| {CALL} |",
    "a diff": f"```diff\n+{CALL}\n```",
    "python code": "```python\ncalculate('42 * 17')\n```",
    "a shell command": f"```bash\ncurl -d '{CALL}' http://localhost\n```",
    "javascript with a call": f"```javascript\nconst call = {CALL};\n```",
    "json with a comment about it": f"```json\n// a tool call\n{CALL}\n// end\nNothing more.\n```",
    "a person": '{"name": "Alice", "age": 42}',
    "a person with arguments": '{"name": "Alice", "arguments": {"topic": "politics"}}',
    "a name only": '{"name": "calculate"}',
    "arguments only": '{"expression": "42 * 17"}',
    "a key too many": '{"name": "calculate", "arguments": {"expression": "1"}, "explanation": "because"}',
    "a result beside it": '{"name": "calculate", "arguments": {"expression": "1"}, "result": 1}',
    "a tool that does not exist": '{"name": "delete_everything", "arguments": {"path": "/"}}',
    "a name far from all": '{"name": "calendar", "arguments": {"expression": "1"}}',
    "a schema": '{"name": "calculate", "parameters": {"type": "object", "properties": {}}, "description": "Calculator"}',
    "a function definition": '{"type": "function", "function": {"name": "calculate", "description": "x", "parameters": {}}}',
    "a list of numbers": "[1, 2, 3]",
    "a list with a call and something else": f'[{CALL}, {{"name": "Alice"}}]',
    "a nested call": f'{{"example": {CALL}}}',
    "a call as text": json.dumps(CALL),
    "half a call": '{"name": "calculate", "arguments": {"expression": "42 *',
    "half a call in a fence": '```json\n{"name": "calculate", "arguments": {"expr',
    "an unclosed text": '{"name": "calculate", "arguments": {"expression": "42 * 17}}'[:-2],
    "arguments as a list": '{"name": "calculate", "arguments": ["42 * 17"]}',
    "only a fence": "```json\n```",
    "only a tag": "<tool_call></tool_call>",
    "a tag in prose": "Models write <tool_call> before a call and </tool_call> after it.",
    "a tag quoted": f"The tag looks so: <tool_call>{CALL}</tool_call>",
    "yaml": "name: calculate\narguments:\n  expression: 42 * 17",
    "braces of mathematics": "{x | x > 2}",
    "a template": "{{ name }} and {{ arguments }}",
    "a poem with brackets": "[Verse 1]\nThe rain it falls",
    "html": "<tools>none</tools>",
}

ASKING = [
    "Show me an example of a tool call for the calculator.",
    "Write the JSON for a call of calculate with 42 * 17.",
    "What does a function call look like?",
    "Give me the json object with name calculate and arguments expression 42 * 17",
    "How would I write a tool call? Explain the format.",
    "Return the payload as JSON.",
    "Please answer in JSON: name and arguments.",
    "Print a JSON document with keys name and arguments.",
    "Repeat this function call: calculate(42 * 17)",
    "Convert this into a tool call snippet.",
]

NOT_ASKING = [
    "What is 42 * 17? Use the calculator.",
    "Use the calculate tool to multiply 42 and 17 and show me the result.",
    "Search the knowledge base for parental leave and give me a summary.",
    "How do I apply for leave? Check the documents.",
    "Show me the schema of the database.",
    "What is our policy on JSON exports?",
    "Give me the phone number to call support.",
]


@pytest.mark.parametrize(("text", "name", "arguments"), CALLS.values(), ids=CALLS)
def test_a_message_that_is_a_call_is_read(text: str, name: str, arguments: dict[str, object]) -> None:
    reading = read(text, TOOLS)
    assert reading is not None
    assert [(call.name, call.arguments) for call in reading.calls] == [(name, arguments)]
    assert reading.calls[0].repair


@pytest.mark.parametrize("text", NOT_CALLS.values(), ids=NOT_CALLS)
def test_a_message_that_only_looks_like_a_call_never_runs(text: str) -> None:
    assert read(text, TOOLS) is None


@pytest.mark.parametrize("question", ASKING)
def test_a_call_the_user_asked_to_see_never_runs(question: str) -> None:
    assert read(CALL, TOOLS, question) is None
    assert read(f"```json\n{CALL}\n```", TOOLS, question) is None


@pytest.mark.parametrize("question", NOT_ASKING)
def test_an_ordinary_question_does_not_hinder_a_call(question: str) -> None:
    assert read(CALL, TOOLS, question) is not None


def test_the_negative_set_is_large() -> None:
    assert len(NOT_CALLS) + len(ASKING) >= 60


def test_several_calls_are_read_in_order() -> None:
    other = '{"name": "current_time", "arguments": {"timezone": "Asia/Tokyo"}}'
    for text in (
        f"[{CALL}, {other}]",
        f"{CALL}\n{other}",
        f"```json\n{CALL}\n```\n```json\n{other}\n```",
        f"<tool_call>{CALL}</tool_call>\n<tool_call>{other}</tool_call>",
    ):
        reading = read(text, TOOLS)
        assert reading is not None
        assert [call.name for call in reading.calls] == ["calculate", "current_time"]


def test_the_announcement_is_kept_as_text() -> None:
    reading = read(f"I'll use the calculator.\n{CALL}", TOOLS)
    assert reading is not None
    assert reading.lead_in == "I'll use the calculator."


def test_an_unknown_tool_in_tags_is_handed_on_to_be_answered() -> None:
    reading = read('<tool_call>{"name": "web_search", "arguments": {"query": "x"}}</tool_call>', TOOLS)
    assert reading is not None
    assert (reading.calls[0].name, reading.calls[0].repair) == ("web_search", "tags; unknown tool")


def test_a_name_between_two_tools_is_no_call() -> None:
    tools = (ToolSchema("get_user", {}), ToolSchema("get_users", {}))
    assert mend("get_userz", {}, tools) is None


def test_a_correct_call_is_not_marked_as_repaired() -> None:
    mended = mend("calculate", '{"expression": "1 + 1"}', TOOLS)
    assert mended is not None
    assert mend("calculate", {"expression": "1 + 1"}, TOOLS).repair is None  # type: ignore[union-attr]


def test_missing_arguments_stay_missing() -> None:
    mended = mend("calculate", {}, TOOLS)
    assert mended is not None
    assert mended.arguments == {}


def test_arguments_that_are_half_json_are_no_call() -> None:
    assert mend("calculate", '{"expression": "42 * 1', TOOLS) is None


@pytest.mark.parametrize(
    ("schema", "given", "expected"),
    [
        ({"type": "integer"}, "42", 42),
        ({"type": "integer"}, 42.0, 42),
        ({"type": "integer"}, "42.5", "42.5"),
        ({"type": "integer"}, "forty", "forty"),
        ({"type": "number"}, "3.5", 3.5),
        ({"type": "number"}, "3", 3),
        ({"type": "boolean"}, "true", True),
        ({"type": "boolean"}, "False", False),
        ({"type": "boolean"}, "yes", "yes"),
        ({"type": "string"}, 5, "5"),
        ({"type": "string"}, True, True),
        ({"type": "array", "items": {"type": "integer"}}, "[1, 2]", [1, 2]),
        ({"type": "array", "items": {"type": "integer"}}, ["1", "2"], [1, 2]),
        ({"type": "array", "items": {"type": "string"}}, "a", ["a"]),
        ({"type": "object"}, '{"a": 1}', {"a": 1}),
        ({"type": "string", "enum": ["Celsius", "Fahrenheit"]}, "celsius", "Celsius"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "7", 7),
        ({"type": ["number", "null"]}, "7.5", 7.5),
        ({}, "x", "x"),
    ],
)
def test_values_take_the_type_their_schema_asks_for(schema: dict[str, object], given: object, expected: object) -> None:
    fitted, notes = fit({"value": given}, ToolSchema("tool", {"properties": {"value": schema}, "required": ["value"]}))
    assert fitted == {"value": expected}
    assert type(fitted["value"]) is type(expected)
    assert bool(notes) == (type(given) is not type(expected) or given != expected)


def stream(text: str, sizes: list[int], question: str = "") -> tuple[str, Reading | None, str]:
    """(all text shown, the reading, the text shown before the end)."""
    holdback = Holdback(TOOLS, question)
    shown, position = "", 0
    for size in [*sizes, len(text)]:
        shown += holdback.push(text[position : position + size])
        position += size
    rest, reading = holdback.finish()
    return shown + rest, reading, shown


@pytest.mark.parametrize(("text", "name", "arguments"), CALLS.values(), ids=CALLS)
def test_a_streamed_call_is_never_shown_as_text(text: str, name: str, arguments: dict[str, object]) -> None:
    for size in (1, 3, 1000):
        shown, reading, _ = stream(text, [size] * len(text))
        assert reading is not None
        assert [(call.name, call.arguments) for call in reading.calls] == [(name, arguments)]
        assert not set("{}[]`<>") & set(shown.replace("<think>", "").split("</think>")[-1])


@pytest.mark.parametrize("text", NOT_CALLS.values(), ids=NOT_CALLS)
def test_streamed_text_arrives_whole(text: str) -> None:
    for size in (1, 4, 1000):
        shown, reading, _ = stream(text, [size] * len(text))
        assert reading is None
        assert shown == text


@pytest.mark.parametrize(
    "text",
    [
        "Plain words appear at once.",
        "```python\nprint('hello')\nprint('again')\n",
        '{"city": "Paris", "people": 2',
        "[1, 2, 3, 4",
        CALL + "\nThat is it.",
    ],
)
def test_text_that_cannot_be_a_call_is_not_held_back(text: str) -> None:
    question = "Show me an example tool call" if text.startswith(CALL) else ""
    _, _, before_the_end = stream(text, [1] * len(text), question)
    assert before_the_end.strip() == text.strip()


FRAGMENTS = st.sampled_from(
    [
        "{",
        "}",
        "[",
        "]",
        '"',
        "'",
        "`",
        "```",
        "```json\n",
        "\n",
        " ",
        ":",
        ",",
        "\\",
        "name",
        '"name"',
        '"arguments"',
        "calculate",
        "calculator",
        '"expression"',
        "42 * 17",
        "<tool_call>",
        "</tool_call>",
        "<think>",
        "</think>",
        "[TOOL_CALLS]",
        "{{",
        "}}",
        "null",
        "True",
        "I'll use it.\n",
        "Example:",
        "\x00",
        "é",
        "😀",
        "1e999",
        "NaN",
    ]
)
TEXTS = st.one_of(st.text(max_size=200), st.lists(FRAGMENTS, max_size=30).map("".join))


@settings(max_examples=400, deadline=None)
@given(text=TEXTS, sizes=st.lists(st.integers(1, 9), max_size=60))
def test_reading_never_raises_never_loses_text_and_never_invents(text: str, sizes: list[int]) -> None:
    shown, reading, _ = stream(text, sizes)
    if reading is None:
        assert shown == text
        return
    for call in reading.calls:
        for name, value in call.arguments.items():
            assert name in text or name in CALCULATE.properties
            assert not isinstance(value, str) or all(word in text or word in json.dumps(text) for word in value.split())


@settings(max_examples=200, deadline=None)
@given(
    name=st.text(max_size=20),
    arguments=st.one_of(st.text(max_size=60), st.none(), st.dictionaries(st.text(max_size=8), st.integers(), max_size=3)),
)
def test_mending_never_raises(name: str, arguments: object) -> None:
    mended = mend(name, arguments, TOOLS)
    assert mended is None or mended.name in {tool.name for tool in TOOLS}
