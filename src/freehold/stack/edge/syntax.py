"""The syntax of nginx.conf as values, so that what is written is always well-formed and quoted in one place.

`directive("listen", "8443", "ssl")` is `listen 8443 ssl;`, `block("location", "=", "/health", body=(...))` is a block.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

#: What may stand without quotes. Our own placeholders (`${data:edge}`) may not: what a target puts there may have spaces.
_PLAIN = re.compile(r"[\w./:$@=~^*+%,&?|()\[\]!<>-]+", re.ASCII)


@dataclass(frozen=True)
class Directive:
    """One directive; `body` is None where it has no block. One named `#` is a comment."""

    name: str
    arguments: tuple[str, ...] = ()
    body: tuple[Directive, ...] | None = None


def directive(name: str, *arguments: object) -> Directive:
    return Directive(name, tuple(map(str, arguments)))


def block(name: str, *arguments: object, body: Iterable[Directive]) -> Directive:
    return Directive(name, tuple(map(str, arguments)), tuple(body))


def comment(text: str) -> Directive:
    return Directive("#", (text,))


def written(directives: Iterable[Directive], indent: str = "") -> str:
    """The text of these directives, four spaces for each level."""
    return "".join(_line(one, indent) for one in directives)


def _line(one: Directive, indent: str) -> str:
    if one.name == "#":
        return f"{indent}# {one.arguments[0]}\n"
    head = " ".join((_word(one.name), *map(_word, one.arguments)))
    if one.body is None:
        return f"{indent}{head};\n"
    return f"{indent}{head} {{\n{written(one.body, indent + '    ')}{indent}}}\n"


def _word(text: str) -> str:
    """As it is where that is safe, else in quotes. Raises ValueError: no line of the file can hold it."""
    if any(ord(letter) < 32 for letter in text):
        raise ValueError(f"a line of nginx.conf cannot hold {text!r}")
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\")
    return f"'{escaped}'" if '"' in text and "'" not in text else '"' + escaped.replace('"', '\\"') + '"'
