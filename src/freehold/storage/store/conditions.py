"""What a search of the store asks for, as conditions in SQL: fixed pieces, with everything of the client's as parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, LiteralString

from langgraph.store.base import MatchCondition
from psycopg import sql

from freehold.core.encode import to_json
from freehold.core.errors import InvalidRequest

#: Comparisons a search may ask for at most.
MAX_COMPARISONS = 100

#: What is at a path of the value; nothing there counts as null.
_AT: LiteralString = "coalesce(value #> {path}::text[], 'null'::jsonb)"

#: Ordered comparisons hold between values of one kind only: a text is neither above nor below a number.
_OPERATORS: Mapping[str, LiteralString] = {
    "$eq": _AT + " = {value}::jsonb",
    "$ne": _AT + " <> {value}::jsonb",
    "$gt": f"(jsonb_typeof({_AT}) = jsonb_typeof({{value}}::jsonb) AND {_AT} > {{value}}::jsonb)",
    "$gte": f"(jsonb_typeof({_AT}) = jsonb_typeof({{value}}::jsonb) AND {_AT} >= {{value}}::jsonb)",
    "$lt": f"(jsonb_typeof({_AT}) = jsonb_typeof({{value}}::jsonb) AND {_AT} < {{value}}::jsonb)",
    "$lte": f"(jsonb_typeof({_AT}) = jsonb_typeof({{value}}::jsonb) AND {_AT} <= {{value}}::jsonb)",
}

#: A pattern's labels stand at the beginning or at the end of a namespace; `*` is any one label.
_MATCHES: Mapping[str, LiteralString] = {
    "prefix": "NOT EXISTS (SELECT FROM unnest({path}::text[]) WITH ORDINALITY AS wanted(label, place)"
    " WHERE wanted.label <> '*' AND wanted.label IS DISTINCT FROM (string_to_array(prefix, '.'))[wanted.place])"
    " AND cardinality(string_to_array(prefix, '.')) >= cardinality({path}::text[])",
    "suffix": "NOT EXISTS (SELECT FROM unnest({path}::text[]) WITH ORDINALITY AS wanted(label, place)"
    " WHERE wanted.label <> '*' AND wanted.label IS DISTINCT FROM (string_to_array(prefix, '.'))"
    "[cardinality(string_to_array(prefix, '.')) - cardinality({path}::text[]) + wanted.place])"
    " AND cardinality(string_to_array(prefix, '.')) >= cardinality({path}::text[])",
}


class Conditions:
    """Conditions joined by AND, and their parameters by name."""

    def __init__(self) -> None:
        self.parameters: dict[str, Any] = {}
        self._pieces: list[sql.Composable] = []

    def below(self, prefix: str) -> None:
        """The namespace itself and all below it. A range, because an index serves it under row-level security too."""
        if prefix:
            # "/" follows "." in collation C, so these are all texts that begin with "prefix."
            self._add("(prefix = {same} OR prefix >= {first} AND prefix < {behind})", same=prefix, first=f"{prefix}.", behind=f"{prefix}/")

    def matching(self, wanted: MatchCondition) -> None:
        """A namespace that a pattern fits. Raises InvalidRequest where its kind is unknown."""
        if wanted.match_type not in _MATCHES:
            raise InvalidRequest(f'match_type: expected "prefix" or "suffix", got "{str(wanted.match_type)[:40]}"')
        if wanted.path:
            self._add(_MATCHES[wanted.match_type], path=list(wanted.path))

    def filtered(self, asked: Mapping[str, Any]) -> None:
        """A value that has what a filter asks for, e.g. `{"kind": "note", "score": {"$gte": 3}, "author": {"name": "Ann"}}`.

        Raises:
            InvalidRequest: an unknown operator, or more comparisons than a search may have.
        """
        for number, (path, operator, value) in enumerate(_comparisons(asked, ())):
            if number == MAX_COMPARISONS:
                raise InvalidRequest(f"filter: more than {MAX_COMPARISONS} comparisons")
            if operator not in _OPERATORS:
                raise InvalidRequest(f'filter: unknown operator "{operator[:40]}"', hint=f"known ones: {', '.join(_OPERATORS)}")
            if any("\0" in name for name in path):
                raise InvalidRequest("filter: a name contains a NUL character (\\u0000)")
            self._add(_OPERATORS[operator], path=list(path), value=to_json(value).decode())

    def sql(self) -> sql.Composable:
        """For a place in a query's WHERE clause."""
        return sql.SQL(" AND ").join(self._pieces) if self._pieces else sql.SQL("true")

    def _add(self, piece: LiteralString, **values: Any) -> None:
        names = {name: f"c{len(self.parameters) + number}" for number, name in enumerate(values)}
        self.parameters |= {names[name]: value for name, value in values.items()}
        self._pieces.append(sql.SQL(piece).format(**{name: sql.Placeholder(given) for name, given in names.items()}))


def _comparisons(asked: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str, Any]]:
    """`{"a": {"b": 1, "c": {"$gt": 2}}}` -> (a, b) $eq 1, (a, c) $gt 2."""
    for name, wanted in asked.items():
        here = (*path, str(name))
        if not isinstance(wanted, Mapping) or not wanted:
            yield here, "$eq", wanted
        elif any(str(key).startswith("$") for key in wanted):
            yield from ((here, str(operator), value) for operator, value in wanted.items())
        else:
            yield from _comparisons(wanted, here)
