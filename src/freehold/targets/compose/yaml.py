"""Writes the YAML of a Compose file in the order it is given, with comments, so that people can read it and compare two of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

Value = str | int | float | bool | None | Sequence["Value"] | Mapping[str, "Value"]

#: Texts that are themselves in YAML, whatever reader it has; all others are quoted as JSON does, which is YAML too.
_PLAIN = re.compile(r"(?:[A-Za-z/]|\./|--?[A-Za-z])[A-Za-z0-9_./=@+-]*(?::[A-Za-z0-9_./=@+-]+)*|\d+[smg]")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})

#: Lists of short texts stand on one line up to this width.
_WIDTH = 120


class Commented(dict[str, Value]):
    """A mapping with a comment above each key that `notes` names."""

    def __init__(self, values: Mapping[str, Value], notes: Mapping[str, str]) -> None:
        super().__init__(values)
        self.notes = notes


class Anchored(dict[str, Value]):
    """A mapping that others take over by its name."""

    def __init__(self, name: str, values: Mapping[str, Value]) -> None:
        super().__init__(values)
        self.name = name


class Alias(str):
    """The name of an `Anchored`; as the value of `<<` its keys are taken over."""

    __slots__ = ()


def document(tree: Mapping[str, Value], head: str = "") -> str:
    """The text of a file; `head` becomes comments above it."""
    comments = "".join(f"# {line}".rstrip() + "\n" for line in head.splitlines())
    return comments + "\n".join(_mapping(tree, 0)) + "\n"


def _mapping(tree: Mapping[str, Value], depth: int) -> Iterator[str]:
    margin = "  " * depth
    notes = tree.notes if isinstance(tree, Commented) else {}
    for number, (key, value) in enumerate(tree.items()):
        if depth == 0 or (key in notes and number and isinstance(value, Mapping) and len(value) > 1):
            yield ""
        if key in notes:
            yield f"{margin}# {notes[key]}"
        yield from _entry(f"{margin}{key if key == '<<' else _scalar(key)}:", value, depth)


def _entry(start: str, value: Value, depth: int) -> Iterator[str]:
    short = _short(value)
    if isinstance(value, str) and _is_block(value):
        yield f"{start} |"
        yield from (f"{'  ' * (depth + 1)}{line}".rstrip() for line in value.splitlines())
    elif short is not None and len(start) + len(short) < _WIDTH:
        yield f"{start} {short}"
    elif isinstance(value, Mapping):
        yield f"{start} &{value.name}" if isinstance(value, Anchored) else start
        yield from _mapping(value, depth + 1)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        yield start
        if any(isinstance(item, str) and item.startswith("-") for item in value):
            yield from _options([str(item) for item in value], depth + 1)
            return
        for item in value:
            yield from _item(item, depth + 1)
    else:
        yield f"{start} {_scalar(value)}"


def _is_block(text: str) -> bool:
    """Whether lines can stand as they are: the text ends one, begins without a space, and all of it can be seen."""
    lines = text.split("\n")
    return (
        len(lines) > 2
        and not lines[-1]
        and bool(lines[-2])
        and text[0] not in " \n"
        and all(map(str.isprintable, lines))
        and not any(line != line.rstrip() for line in lines)
    )


def _options(words: Sequence[str], depth: int) -> Iterator[str]:
    """A command line: each option on a line with what it is set to."""
    margin = "  " * depth
    yield f"{margin}["
    line: list[str] = []
    for word in words:
        if word.startswith("-") and line:
            yield f"{margin}  {', '.join(line)},"
            line = []
        line.append(_scalar(word))
    yield f"{margin}  {', '.join(line)},"
    yield f"{margin}]"


def _item(value: Value, depth: int) -> Iterator[str]:
    margin = "  " * depth
    if isinstance(value, Mapping) and value:
        lines = list(_mapping(value, depth + 1))
        yield f"{margin}- {lines[0].strip()}"
        yield from lines[1:]
    else:
        yield f"{margin}- {_short(value) or _scalar(value)}"


def _short(value: Value) -> str | None:
    """A value on one line: texts and numbers, lists of them, and what is empty."""
    if isinstance(value, Mapping):
        return None if value else "{}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        if any(isinstance(item, (Mapping, list, tuple)) for item in value):
            return None
        return "[" + ", ".join(_scalar(item) for item in value) + "]"
    return _scalar(value)


def _scalar(value: Value) -> str:
    if value is None:
        return "null"
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    if isinstance(value, Alias):
        return f"*{value}"
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return json.dumps(text, ensure_ascii=False)
