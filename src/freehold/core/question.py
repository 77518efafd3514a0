"""What a graph asks of a person: an interrupt, the answers it takes, and until when.

Three shapes say which answers are right, in this order: a `response_schema` (of `interrupt(...)`, or a key of its value), the
requests of LangChain's human-in-the-loop middleware, and those of the agent inbox. Everything else takes any answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # ships no types
from referencing import Registry
from referencing.exceptions import Unresolvable

Schema = dict[str, Any]

#: The longest an interrupt may ask to stay open, in seconds.
MOST_SECONDS = 10 * 366 * 86400.0

_MESSAGE: Schema = {"type": "string"}
_ACTION: Schema = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "args": {"type": "object"}},
    "required": ["name", "args"],
}

#: A decision of the human-in-the-loop middleware, by its type.
_DECISIONS: Mapping[str, Schema] = {
    "approve": {},
    "edit": {"properties": {"edited_action": _ACTION}, "required": ["type", "edited_action"]},
    "reject": {"properties": {"message": _MESSAGE}},
    "respond": {"properties": {"message": _MESSAGE}, "required": ["type", "message"]},
}

#: A response of the agent inbox, by its type: the flag of the request's config that allows it, and what its `args` are.
_RESPONSES: Mapping[str, tuple[str, Schema]] = {
    "accept": ("allow_accept", {}),
    "ignore": ("allow_ignore", {}),
    "response": ("allow_respond", _MESSAGE),
    "edit": ("allow_edit", {"type": "object", "properties": {"action": {"type": "string"}, "args": {"type": "object"}}}),
}


@dataclass(frozen=True)
class Question:
    """One interrupt that waits."""

    id: str
    value: Any
    #: JSON Schema of the answers it takes; None takes any.
    response_schema: Schema | None
    #: Seconds it waits for an answer; None waits for ever.
    expires_in: float | None
    #: The graph goes on with `on_expiry` then, which may be null; otherwise the thread becomes an error.
    has_default: bool = False
    on_expiry: Any = None

    def expires_at(self, asked_at: datetime) -> datetime | None:
        return asked_at + timedelta(seconds=self.expires_in) if self.expires_in else None

    def wrong_with(self, answer: Any) -> str | None:
        """What the schema has against an answer, e.g. `decisions.0.type: 'maybe' is not one of ['approve']`; None for nothing, and where
        the schema itself is none."""
        if self.response_schema is None:
            return None
        try:
            jsonschema.Draft202012Validator.check_schema(self.response_schema)
            # An empty registry: a schema that refers to an address is never fetched.
            validator = jsonschema.Draft202012Validator(self.response_schema, registry=Registry())
            found = jsonschema.exceptions.best_match(validator.iter_errors(answer))
        except (jsonschema.SchemaError, Unresolvable, re.error, RecursionError):
            return None  # no answer could ever please it; the graph sees to itself
        if found is None:
            return None
        place = ".".join(str(part) for part in found.absolute_path)
        return f"{place}: {found.message[:300]}" if place else found.message[:300]


def question(interrupt: Mapping[str, Any]) -> Question:
    """One interrupt as a thread keeps it, `{"id", "value", "response_schema"?}`."""
    value = interrupt.get("value")
    terms = value if isinstance(value, Mapping) else {}
    return Question(
        id=str(interrupt.get("id")),
        value=value,
        response_schema=_schema(interrupt.get("response_schema"), value),
        expires_in=_seconds(terms.get("expires_in")),
        has_default="on_expiry" in terms,
        on_expiry=terms.get("on_expiry"),
    )


def questions(interrupts: Mapping[str, Any]) -> list[Question]:
    """All of a thread's interrupts, `{task id: [interrupt]}`."""
    tasks = [task for task in interrupts.values() if isinstance(task, list)]
    return [question(item) for task in tasks for item in task if isinstance(item, Mapping)]


def _schema(declared: Any, value: Any) -> Schema | None:
    if isinstance(declared, Mapping):
        return dict(declared)
    if isinstance(value, Mapping):
        if isinstance(value.get("response_schema"), Mapping):
            return dict(value["response_schema"])
        if isinstance(value.get("action_requests"), list):
            return _decisions(value["action_requests"], value.get("review_configs"))
    if isinstance(value, list) and value and all(_is_inbox_request(item) for item in value):
        return {"type": "array", "minItems": len(value), "maxItems": len(value), "prefixItems": [_response(item) for item in value]}
    if _is_inbox_request(value):  # the inbox sends a list also for one request
        return {"anyOf": [_response(value), {"type": "array", "minItems": 1, "maxItems": 1, "items": _response(value)}]}
    return None


def _decisions(requests: Sequence[Any], configs: Any) -> Schema:
    allowed = {
        item.get("action_name"): item.get("allowed_decisions")
        for item in (configs if isinstance(configs, list) else [])
        if isinstance(item, Mapping)
    }
    each = [_decision(allowed.get(item.get("name") if isinstance(item, Mapping) else None)) for item in requests]
    decisions = {"type": "array", "minItems": len(each), "maxItems": len(each), **({"prefixItems": each} if each else {})}
    return {"type": "object", "properties": {"decisions": decisions}, "required": ["decisions"]}


def _decision(allowed: Any) -> Schema:
    types = [kind for kind in _DECISIONS if not isinstance(allowed, list) or kind in allowed]
    return _tagged({kind: _DECISIONS[kind] for kind in types})


def _is_inbox_request(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("action_request"), Mapping) and isinstance(value.get("config"), Mapping)


def _response(request: Mapping[str, Any]) -> Schema:
    kinds = {
        kind: {"properties": {"args": args}, "required": ["type", "args"]} if args else {}
        for kind, (flag, args) in _RESPONSES.items()
        if request["config"].get(flag)
    }
    return _tagged(kinds)


def _tagged(kinds: Mapping[str, Schema]) -> Schema:
    """An object whose `type` says what else it holds: checked against that one kind, so that the complaint is about it."""
    rules = [{"if": {"properties": {"type": {"const": kind}}}, "then": rule} for kind, rule in kinds.items() if rule]
    return {
        "type": "object",
        "properties": {"type": {"enum": list(kinds)}},
        "required": ["type"],
        **({"allOf": rules} if rules else {}),
    }


def _seconds(given: Any) -> float | None:
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    return float(given) if is_number and 0 < given <= MOST_SECONDS else None
