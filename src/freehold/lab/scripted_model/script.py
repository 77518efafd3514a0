"""What a scripted model answers: rules tried in order, the first whose conditions all hold decides. No I/O but reading the file.

    [[rules]]
    user = "what is ([0-9 +*/-]+)"          # regular expression, searched in the last user message, case ignored
    offers = "calculate"                    # the request offers this tool
    tool_results = 0                        # tool results since that message
    calls = [{ name = "calculate", arguments = { expression = "{1}" } }]

    [[rules]]
    tool_results = 1
    text = "The result is {tool_result}."

Placeholders in `text` and in strings of `arguments`: `{1}`… groups of `user`, `{h1}`… groups of the last match of
`history`, `{user}` the last user message, `{tool_result}` the last tool result, `{n}` the number of the request.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from freehold.core.errors import ConfigError

Failure = Literal["500", "503", "429", "context_length", "context_length_llama", "cut", "malformed", "hang"]
WrittenAs = Literal["call", "json", "fenced", "single_quotes", "tags"]

_PLACEHOLDER = re.compile(r"\{(h?\d|user|tool_result|n)\}")


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Call(_Value):
    """A tool call, e.g. `Call(name="calculate", arguments={"expression": "42 * 17"})`."""

    name: str
    arguments: dict[str, Any] | str = {}
    """A string is sent as it is, so arguments that are not JSON can be scripted."""


class Rule(_Value):
    """Conditions (all must hold; none: always) and one answer."""

    user: str | None = None
    """Regular expression searched in the last user message, case ignored."""
    history: str | None = None
    """Regular expression searched in everything said before the last user message, case ignored."""
    offers: str | None = None
    """Name of a tool the request must offer."""
    tool_results: int | None = None
    """How many tool results follow the last user message."""
    request: int | None = None
    """Number of the request since the start, from 1."""
    times: int | None = None
    """The rule is used up after this many answers."""

    text: str = ""
    """What the model says."""
    calls: tuple[Call, ...] = ()
    """Tools the model calls."""
    written_as: WrittenAs = "call"
    """"call": in the protocol's own field; else written into the text, as small models do."""
    failure: Failure | None = None
    """What goes wrong instead of, or in the middle of, the answer."""
    failure_after: Annotated[int, Field(ge=0)] = 0
    """Tokens streamed before "cut" or "hang"."""
    ttft_seconds: Annotated[float, Field(ge=0)] | None = None
    """Time to the first token; default: the script's."""
    tokens_per_second: Annotated[float, Field(gt=0)] | None = None
    """Pace; default: the script's."""


class Script(_Value):
    """A model: its name, its pace and its rules."""

    model: str = "scripted"
    context_tokens: Annotated[int, Field(ge=1)] | None = None
    """Prompts longer than this are refused as vLLM refuses them."""
    ttft_seconds: Annotated[float, Field(ge=0)] = 0
    tokens_per_second: Annotated[float, Field(gt=0)] | None = None
    """None: as fast as possible."""
    rules: tuple[Rule, ...] = ()
    """The first that holds answers; a request that none holds for is refused with 400."""


@dataclass(frozen=True)
class Question:
    """What rules look at in one request."""

    number: int
    user: str
    history: str
    tool_results: tuple[str, ...]
    offered: frozenset[str]


@dataclass(frozen=True)
class Answer:
    """A rule with its placeholders filled in."""

    rule: Rule
    index: int
    text: str
    calls: tuple[Call, ...]


def load(path: Path) -> Script:
    """Read a script from TOML.

    Raises:
        ConfigError: the file cannot be read, is not TOML or not a script.
    """
    try:
        return Script.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{path}: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error


def read_question(body: Mapping[str, Any], number: int) -> Question:
    """The parts of a chat completion request that rules look at."""
    messages: Sequence[Mapping[str, Any]] = body.get("messages") or ()
    last_user = max((i for i, message in enumerate(messages) if message.get("role") == "user"), default=-1)
    return Question(
        number=number,
        user=text_of(messages[last_user]) if last_user >= 0 else "",
        history="\n".join(text_of(message) for message in messages[: max(last_user, 0)] if message.get("role") != "system"),
        tool_results=tuple(text_of(message) for message in messages[last_user + 1 :] if message.get("role") == "tool"),
        offered=frozenset(tool["function"]["name"] for tool in body.get("tools") or () if "function" in tool),
    )


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a message, whose content may be a string, a list of parts or null."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or () if isinstance(part, Mapping))


def decide(script: Script, question: Question, used: Mapping[int, int]) -> Answer | None:
    """The answer of the first rule that holds, or None. `used`: rule index -> answers it gave already."""
    for index, rule in enumerate(script.rules):
        if rule.times is not None and used.get(index, 0) >= rule.times:
            continue
        if (known := _match(rule, question)) is not None:
            calls = tuple(Call(name=call.name, arguments=_fill(call.arguments, known)) for call in rule.calls)
            return Answer(rule, index, _fill(rule.text, known), calls)
    return None


def _match(rule: Rule, question: Question) -> dict[str, str] | None:
    """Values of the placeholders where all conditions hold."""
    if rule.request not in {None, question.number} or rule.tool_results not in {None, len(question.tool_results)}:
        return None
    if rule.offers is not None and rule.offers not in question.offered:
        return None
    known = {"user": question.user, "n": str(question.number), "tool_result": next(reversed(question.tool_results), "")}
    for prefix, pattern, text in (("", rule.user, question.user), ("h", rule.history, question.history)):
        if pattern is None:
            continue
        matches = list(re.finditer(pattern, text, re.IGNORECASE))
        if not matches:
            return None
        known |= {f"{prefix}{i}": (group or "").strip() for i, group in enumerate(matches[-1].groups(), 1)}
    return known


def _fill(value: Any, known: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return _PLACEHOLDER.sub(lambda match: known.get(match[1], match[0]), value)
    if isinstance(value, dict):
        return {key: _fill(item, known) for key, item in value.items()}
    return [_fill(item, known) for item in value] if isinstance(value, list) else value


#: Behaves like an agent's model: calculates with the tool where one is offered, remembers the conversation, else echoes.
ECHO_AGENT = Script(
    rules=(
        Rule(tool_results=1, text="The result is {tool_result}."),
        Rule(
            user=r"(?:divide|split) (?:it|that|the result) by (\d+)",
            history=r"(-?\d+(?:\.\d+)?)",
            offers="calculate",
            calls=(Call(name="calculate", arguments={"expression": "{h1} / {1}"}),),
        ),
        Rule(
            user=r"(?:what is|calculate|compute)\s+([-(\d][\d\s.+*/()^-]*)",
            offers="calculate",
            calls=(Call(name="calculate", arguments={"expression": "{1}"}),),
        ),
        Rule(user=r"my name is (\w+)", text="Nice to meet you, {1}."),
        Rule(user=r"what is my name", history=r"my name is (\w+)", text="Your name is {h1}."),
        Rule(text="You said: {user}"),
    )
)
