"""Reading the tool calls of models that cannot quite write them.

Small models write a call as a JSON block, with single quotes, under a wrong name or with numbers as text. What is plainly
a call is read and mended here; what is not stays text. The rule is strict, because running what a model merely quoted
would be worse than missing a call:

    a message is a call only if all of it is one: calls, fenced or tagged or bare, after at most a short announcement
    ("I'll use the calculator:"), with exactly the keys a call has, naming a tool the model was given, and not when the
    user asked to see JSON or an example.

Everything here is pure: text and schemas in, values out.
"""

from __future__ import annotations

import ast
import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import json_repair


@dataclass(frozen=True)
class ToolSchema:
    """A tool as a model is shown it: its name and the JSON schema of its arguments."""

    name: str
    parameters: Mapping[str, Any]

    @property
    def properties(self) -> Mapping[str, Any]:
        found = self.parameters.get("properties")
        return found if isinstance(found, dict) else {}

    @property
    def required(self) -> tuple[str, ...]:
        return tuple(self.parameters.get("required") or ())


@dataclass(frozen=True)
class ReadCall:
    """A call as it may be executed. `repair` says what was mended, e.g. `"json block; calculator → calculate"`; None: nothing."""

    name: str
    arguments: dict[str, Any]
    repair: str | None = None


@dataclass(frozen=True)
class Reading:
    """A message that is calls: the announcement before them (may be empty) and the calls, at least one."""

    lead_in: str
    calls: tuple[ReadCall, ...]


#: Where a call may begin, and what kind of writing that is.
_START = re.compile(r"```|<tool_call>|<function_call>|<tools?>|\[TOOL_CALLS\]|(?:^|(?<=\n))[ \t]*[{\[]")
_FENCE = re.compile(r"\s*```[ \t]*(json5?|tool_calls?|tool_code|xml|text)?[ \t]*\n?(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"\s*<(tool_call|function_call|tools?)>(.*?)(?:</\1>|\Z)", re.DOTALL)
_TAGS = ("<tool_call>", "<function_call>", "<tools>")
_TOOL_CALLS_MARK = "[TOOL_CALLS]"
_THINKING = re.compile(r"\A\s*<think>.*?</think>\s*", re.DOTALL)

#: Key sets of a call: name -> arguments.
_NAME_KEYS = ("name", "function", "tool", "tool_name", "function_name", "action")
_ARGUMENT_KEYS = ("arguments", "parameters", "args", "params", "kwargs", "input", "tool_input", "action_input")
_EXTRA_KEYS = frozenset({"id", "type", "index"})
_LIST_KEYS = ("tool_calls", "function_calls", "calls")

MAX_LEAD_IN_CHARACTERS = 200
#: How a model says what it is about to do.
_ANNOUNCES = re.compile(
    r"(?:^|[\n.!,] ?)\s*(?:"
    r"i(?:['’]?ll| will| am going to|['’]m going to| need to| can| should| have to| must)\b|let me\b|let['’]s\b"
    r"|we (?:can|need|will|should|must|have)\b"
    r"|to (?:answer|find|calculate|compute|get|determine|solve|check|look|do|search|perform|evaluate)\b"
    r"|(?:calling|using|checking|searching|looking|calculating|first|next|now|sure|okay|ok|certainly|of course)\b"
    r"|tool call:?$)",
    re.IGNORECASE,
)
#: Words of somebody who quotes, explains or warns.
_QUOTES = re.compile(
    r"\b(?:example|e\.g|for instance|such as|like this|looks?|sample|json|format|schema|syntax|template"
    r"|you (?:can|could|would|should|may|might|need)|would|could|log|logs|wrote|said|sent|returned|responded|output|docs?|documentation"
    r"|don['’]t|do not|never|not run|avoid|wrong|invalid|illustrat\w*|demonstrat\w*|show you|snippet|payload|request body|config\w*"
    r"|hypothetical\w*|imagine|suppose|quote[sd]?|user)\b",
    re.IGNORECASE,
)
#: A user who wants to read JSON or a call, not to have it executed.
_ASKS_TO_WRITE = re.compile(
    r"\b(?:show|write|give|print|output|return|generate|create|produce|draft|format|convert|translate|explain|describe|reply|respond|answer"
    r"|quote|repeat|example|sample|how (?:do|does|would|to|should|can))\b[^.?!\n]{0,80}"
    r"\b(?:json|yaml|(?:tool|function)[- ]?call(?:s|ing)?(?: syntax| format| example)?|payload|code block|request body)\b"
    r"|\b(?:json|payload|(?:tool|function)[- ]call)\b[^.?!\n]{0,40}\b(?:example|look like|looks like|format|syntax|snippet)\b"
    r"|\bas (?:a )?json\b|\bin json\b|\bjson (?:object|for|with|that|representation|document|block)\b",
    re.IGNORECASE,
)


def asks_to_write(question: str) -> bool:
    """Whether a user asks to see JSON or a call written out, so that an answer shaped like a call is the answer itself."""
    return _ASKS_TO_WRITE.search(question) is not None


def read(text: str, tools: Sequence[ToolSchema], question: str = "") -> Reading | None:
    """The calls a message consists of, or None where it is text. Never raises, never makes up a value.

    Args:
        text: the whole message.
        tools: what the model was given.
        question: the user's last message.
    """
    text = _THINKING.sub("", text)
    if not tools or asks_to_write(question) or not (start := _START.search(text)):
        return None
    lead_in, body = text[: start.start()], text[start.start() :]
    if not announces(lead_in):
        return None
    pieces = _pieces(body)
    if not pieces:
        return None
    calls: list[ReadCall] = []
    for form, piece in pieces:
        parsed = _parse(piece)
        if parsed is None:
            return None
        values, loosely = parsed
        for value in values:
            shaped = _shaped(value, tools, tagged=form == "tags")
            if shaped is None:
                return None
            calls += [_with_form(call, form, loosely) for call in shaped]
    return Reading(lead_in.strip(), tuple(calls)) if calls else None


def announces(lead_in: str) -> bool:
    """Whether text before a call may stand there: nothing, or a short announcement that quotes and explains nothing."""
    lead_in = lead_in.strip()
    if not lead_in:
        return True
    return len(lead_in) <= MAX_LEAD_IN_CHARACTERS and bool(_ANNOUNCES.search(lead_in)) and not _QUOTES.search(lead_in)


def mend(name: str, arguments: Any, tools: Sequence[ToolSchema]) -> ReadCall | None:
    """A call of a known or nearly known tool with arguments fitted to its schema; None where no tool is meant.

    What is missing stays missing: the tool's wrapper answers that to the model.
    """
    tool, notes = _find_tool(name, tools)
    if tool is None:
        return None
    if isinstance(arguments, str):
        loaded = _loads(arguments)
        if isinstance(loaded, dict):
            arguments, notes = loaded, [*notes, "arguments as text"]
        elif not arguments.strip():
            arguments = {}
        elif len(tool.required) == 1 and arguments.strip()[0] not in "{[":
            arguments, notes = {tool.required[0]: arguments}, [*notes, f"bare value → {tool.required[0]}"]
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        return None
    fitted, mended = fit(arguments, tool)
    notes += mended
    return ReadCall(tool.name, fitted, "; ".join(notes) or None)


def fit(arguments: Mapping[str, Any], tool: ToolSchema) -> tuple[dict[str, Any], list[str]]:
    """Arguments with the types the schema asks for, and notes of what was changed, e.g. `["count: \\"42\\" → 42"]`."""
    fitted: dict[str, Any] = {}
    notes: list[str] = []
    for name, value in arguments.items():
        schema = tool.properties.get(name)
        if value is None and name not in tool.required and schema is not None and not _allows(schema, "null"):
            notes.append(f"{name}: null left out")
            continue
        changed = _coerce(value, schema) if isinstance(schema, dict) else value
        if type(changed) is not type(value) or changed != value:
            notes.append(f"{name}: {_short(value)} → {_short(changed)}")
        fitted[name] = changed
    missing = [name for name in tool.required if name not in fitted]
    unknown = [name for name in fitted if tool.properties and name not in tool.properties]
    if len(missing) == 1 and len(unknown) == 1:  # one value without a place and one place without a value
        schema = tool.properties.get(missing[0], {})
        value = _coerce(fitted[unknown[0]], schema)
        if not isinstance(schema, dict) or _matches(value, schema):
            del fitted[unknown[0]]
            fitted[missing[0]] = value
            notes.append(f"{unknown[0]} → {missing[0]}")
    return fitted, notes


class Holdback:
    """Decides, while a message streams, what a client may see already: text at once, what may be a call not before it is known.

    `push` returns text to show; `finish` returns the rest and the calls, of which one is empty.
    """

    def __init__(self, tools: Sequence[ToolSchema], question: str = "") -> None:
        self._tools = tools
        self._question = question
        self._shown = ""
        self._held = ""
        self._is_text = not tools or asks_to_write(question)

    def push(self, text: str) -> str:
        if self._is_text:
            self._shown += text
            return text
        self._held += text
        whole = self._shown + self._held
        begin = _after_thinking(whole)
        if begin is None:  # still thinking, which is shown as it comes
            return self._show(len(self._held) - _undecided_tail(self._held, at_line_start=False))
        if len(self._shown) - begin > MAX_LEAD_IN_CHARACTERS:
            return self._give_up()
        if start := _START.search(whole, begin):
            if not announces(whole[begin : start.start()]) or not _may_be_call(whole[start.start() :], self._tools):
                return self._give_up()
            return self._show(start.start() - len(self._shown))
        return self._show(len(self._held) - _undecided_tail(self._held, at_line_start=not self._shown or self._shown.endswith("\n")))

    def finish(self) -> tuple[str, Reading | None]:
        if self._is_text:
            return "", None
        reading = read(self._shown + self._held, self._tools, self._question)
        held, self._held = self._held, ""
        return ("", reading) if reading else (held, None)

    def _show(self, count: int) -> str:
        count = max(count, 0)
        shown, self._held = self._held[:count], self._held[count:]
        self._shown += shown
        return shown

    def _give_up(self) -> str:
        self._is_text = True
        return self._show(len(self._held))


def _after_thinking(text: str) -> int | None:
    """Where a message begins after its thoughts; None while they last."""
    if not text.lstrip().startswith("<think>"):
        return 0
    match = _THINKING.match(text)
    return match.end() if match else None


def _undecided_tail(text: str, *, at_line_start: bool) -> int:
    """Length of an end that may be the first characters of a marker, e.g. the two back-ticks of "text ``"."""
    for marker in ("```", *_TAGS, _TOOL_CALLS_MARK, "<think>", "</think>"):
        for length in range(min(len(marker) - 1, len(text)), 0, -1):
            if text.endswith(marker[:length]):
                return length
    blank = len(text) - len(text.rstrip(" \t\n"))  # a call may follow a line break; what is shown cannot be taken back
    return blank if "\n" in text[len(text) - blank :] or (at_line_start and blank == len(text)) else 0


_OPENING = re.compile(
    r"(?P<outer>\s*(?:```[ \t]*(?P<language>[\w+-]*)[ \t]*(?P<line>\n)?|<(?:tool_call|function_call|tools?)>|\[TOOL_CALLS\])\s*)*"
    r"(?P<bracket>\[\s*)?(?P<brace>\{\s*(?:\{\s*)?)?(?P<key>['\"]?\w*['\"]?)?"
)


def _may_be_call(text: str, tools: Sequence[ToolSchema]) -> bool:
    """Whether what was written so far can still become a call; a code block or another object streams at once."""
    match = _OPENING.match(text)
    if not match or match.end() == 0:
        return False
    language = (match["language"] or "").lower()
    if not any(known.startswith(language) for known in ("json", "json5", "tool_call", "tool_calls", "tool_code", "xml", "text")):
        return False
    if not match["brace"]:
        rest = text[match.end() :].strip()
        return not rest or any(marker.startswith(rest) for marker in _TAGS)
    key = (match["key"] or "").strip("'\"")
    keys = {*_NAME_KEYS, *_ARGUMENT_KEYS, *_EXTRA_KEYS, *_LIST_KEYS, *(tool.name for tool in tools)}
    is_whole = match.end() < len(text)
    return (key in keys if is_whole else any(known.startswith(key) for known in keys)) and not _continues_after_fence(text)


def _continues_after_fence(text: str) -> bool:
    if not text.lstrip().startswith("```"):
        return False
    rest = text.lstrip()[3:]
    _, closed, after = rest.partition("```")
    return bool(closed) and bool(after.strip()) and not after.strip().startswith(("`", "<"))


def _pieces(body: str) -> list[tuple[str, str]]:
    """`[(form, text)]` of the blocks a body consists of, all of one form; empty where anything else is between them."""
    stripped = body.strip()
    if stripped.startswith(_TOOL_CALLS_MARK):
        return [("marker", stripped.removeprefix(_TOOL_CALLS_MARK))]
    for form, pattern, group in (("json block", _FENCE, 2), ("tags", _TAG, 2)):
        if not pattern.match(stripped):
            continue
        pieces: list[tuple[str, str]] = []
        position = 0
        while position < len(stripped) and (match := pattern.match(stripped, position)):
            inner = match[group].strip()
            pieces += _pieces(inner) if inner.startswith("<") else [(form, inner)]
            position = match.end()
            if not stripped[position:].strip():
                return pieces
        return []
    return [("bare json", stripped)] if stripped[:1] in {"{", "["} else []


def _parse(text: str) -> tuple[list[Any], bool] | None:
    """Values written one after another, and whether they had to be read loosely."""
    text = text.strip()
    if text[:1] not in {"{", "["} or text[-1:] not in {"}", "]"}:
        return None  # unfinished: half a call is not a call
    values: list[Any] = []
    decoder, position = json.JSONDecoder(), 0
    try:
        while position < len(text):
            value, position = decoder.raw_decode(text, position)
            values += value if isinstance(value, list) else [value]
            while position < len(text) and text[position] in " \t\r\n,;":
                position += 1
        return values, False
    except (json.JSONDecodeError, RecursionError):
        pass
    loose = _doubled_braces(text) if text.startswith("{{") else _python_literal(text)
    if loose is None:
        loose = _repaired(text)
    if loose is None:
        return None
    return (loose if isinstance(loose, list) else [loose]), True


def _doubled_braces(text: str) -> Any:
    """`{{"name": …}}`: braces as prompt templates write them, which models copy."""
    try:
        value, end = json.JSONDecoder().raw_decode(text, 1)
        return value if not text[end:].strip(" }\n") else None
    except (json.JSONDecodeError, RecursionError):
        pass
    try:
        return json.loads(text.replace("{{", "{").replace("}}", "}"))
    except (json.JSONDecodeError, RecursionError):
        return None


def _python_literal(text: str) -> Any:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, dict | list) and _is_json(value) else None


def _repaired(text: str) -> Any:
    try:
        value = json_repair.loads(text)
    except (ValueError, RecursionError, TypeError, IndexError):
        return None
    return value if isinstance(value, dict | list) and _is_grounded(value, text) else None


def _is_grounded(value: Any, text: str) -> bool:
    """Whether every word and number of a mended value stands in the text it was mended from."""
    if isinstance(value, dict):
        return all(_is_grounded(key, text) and _is_grounded(item, text) for key, item in value.items())
    if isinstance(value, list):
        return all(_is_grounded(item, text) for item in value)
    if isinstance(value, str):
        return value in text or json.dumps(value, ensure_ascii=False)[1:-1] in text or json.dumps(value)[1:-1] in text
    if isinstance(value, bool) or value is None:
        return True
    return str(value) in text


def _is_json(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(_is_json(item) for item in value)
    return value is None or isinstance(value, str | bool | int | float)


def _loads(text: str) -> Any:
    parsed = _parse(text)
    return parsed[0][0] if parsed and len(parsed[0]) == 1 and text.strip().startswith("{") else None


def _shaped(value: Any, tools: Sequence[ToolSchema], *, tagged: bool) -> list[ReadCall] | None:
    """The calls an object is, or None: its keys are exactly those of a call and its name is a tool's."""
    if not isinstance(value, dict):
        return None
    keys = set(value) - _EXTRA_KEYS
    for list_key in _LIST_KEYS:
        if keys == {list_key} and isinstance(value[list_key], list) and value[list_key]:
            nested = [_shaped(item, tools, tagged=tagged) for item in value[list_key]]
            return [call for calls in nested for call in calls or ()] if all(nested) else None
    if keys == {"function"} and isinstance(value["function"], dict):
        return _shaped(value["function"], tools, tagged=tagged)
    name, arguments = _name_and_arguments(value, keys, tools, tagged=tagged)
    if not isinstance(name, str):
        return None
    call = mend(name, arguments, tools)
    if call is None:
        # An unknown name is answered with the known ones, but only where nothing but a call can be meant.
        is_meant = tagged and name.isidentifier() and isinstance(arguments, dict)
        return [ReadCall(name, dict(arguments), "unknown tool")] if is_meant else None
    return [call]


def _name_and_arguments(value: Mapping[str, Any], keys: set[str], tools: Sequence[ToolSchema], *, tagged: bool) -> tuple[Any, Any]:
    for name_key in _NAME_KEYS:
        for argument_key in _ARGUMENT_KEYS:
            if keys == {name_key, argument_key}:
                return value[name_key], value[argument_key]
        if tagged and keys == {name_key}:
            return value[name_key], {}
    if len(keys) == 1:  # {"calculate": {"expression": "1 + 1"}}
        only = next(iter(keys))
        if isinstance(value[only], dict) and any(tool.name == only for tool in tools):
            return only, value[only]
    return None, None


def _with_form(call: ReadCall, form: str, loosely: bool) -> ReadCall:
    notes = [form, *(["loose syntax"] if loosely else []), *([call.repair] if call.repair else [])]
    return ReadCall(call.name, call.arguments, "; ".join(notes))


_NEAR = 0.8


def _find_tool(name: str, tools: Sequence[ToolSchema]) -> tuple[ToolSchema | None, list[str]]:
    """A tool by its name, its name in other writing, or a name so near that no other tool can be meant."""
    by_name = {tool.name: tool for tool in tools}
    if name in by_name:
        return by_name[name], []
    plain = _plain(name)
    same = [tool for tool in tools if _plain(tool.name) == plain]
    if len(same) == 1:
        return same[0], [f"{name} → {same[0].name}"]
    scored = sorted(((difflib.SequenceMatcher(None, plain, _plain(tool.name)).ratio(), tool) for tool in tools), key=lambda pair: -pair[0])
    if plain and scored and scored[0][0] >= _NEAR and (len(scored) == 1 or scored[0][0] - scored[1][0] >= 0.1):
        return scored[0][1], [f"{name} → {scored[0][1].name}"]
    return None, []


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", re.sub(r"^(?:functions?|tools?|default_api)[.:/]", "", name.strip().lower()))


def _types(schema: Mapping[str, Any]) -> tuple[str, ...]:
    kind = schema.get("type")
    if isinstance(kind, str):
        return (kind,)
    if isinstance(kind, list):
        return tuple(item for item in kind if isinstance(item, str))
    options = schema.get("anyOf") or schema.get("oneOf") or ()
    return tuple(name for option in options if isinstance(option, dict) for name in _types(option))


def _allows(schema: Any, kind: str) -> bool:
    return isinstance(schema, dict) and (kind in _types(schema) or not _types(schema))


_PYTHON_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list, tuple),
    "object": (dict,),
    "null": (type(None),),
}


def _matches(value: Any, schema: Mapping[str, Any]) -> bool:
    kinds = _types(schema)
    if isinstance(value, bool):
        return not kinds or "boolean" in kinds
    return not kinds or any(isinstance(value, _PYTHON_TYPES.get(kind, (object,))) for kind in kinds)


def _coerce(value: Any, schema: Any) -> Any:
    """The value as the schema's type where the text leaves no doubt, else as it is."""
    if not isinstance(schema, dict):
        return value
    if isinstance(value, str) and isinstance(options := schema.get("enum"), list) and value not in options:
        same = [option for option in options if isinstance(option, str) and option.strip().casefold() == value.strip().casefold()]
        return same[0] if len(same) == 1 else value
    if _matches(value, schema):
        return _coerce_items(value, schema)
    for kind in _types(schema):
        changed = _to(kind, value)
        if changed is not None:
            return _coerce_items(changed, schema)
    return value


def _coerce_items(value: Any, schema: Mapping[str, Any]) -> Any:
    items = schema.get("items")
    if isinstance(value, list) and isinstance(items, dict):
        return [_coerce(item, items) for item in value]
    nested = schema.get("properties")
    if isinstance(value, dict) and isinstance(nested, dict):
        return {key: _coerce(item, nested.get(key)) for key, item in value.items()}
    return value


def _to(kind: str, value: Any) -> Any:
    if kind == "integer":
        return _integer(value)
    if kind == "number" and isinstance(value, str):
        whole = _integer(value)
        return whole if whole is not None else _number(value)
    if kind == "boolean" and isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().lower())
    if kind == "string" and isinstance(value, int | float) and not isinstance(value, bool):
        return json.dumps(value)
    if kind == "array":
        loaded = _loads_any(value) if isinstance(value, str) and value.strip().startswith("[") else None
        return loaded if isinstance(loaded, list) else [value]
    if kind == "object" and isinstance(value, str):
        loaded = _loads_any(value)
        return loaded if isinstance(loaded, dict) else None
    return None


def _integer(value: Any) -> int | None:
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return int(value) if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d{1,18}\s*", value) else None


def _number(value: str) -> float | None:
    return float(value) if re.fullmatch(r"\s*[+-]?\d{1,18}\.\d{1,18}(?:[eE][+-]?\d{1,2})?\s*", value) else None


def _loads_any(text: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return _python_literal(text)


def _short(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 40 else text[:39] + "…"
