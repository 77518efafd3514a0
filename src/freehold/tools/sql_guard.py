"""The second wall in front of the database: a parser that lets only one plain reading statement through.

The first wall is the database itself (a role that may only read, a read-only transaction, a timeout). What is executed
is written anew from the parsed tree, so nothing reaches the server that was not looked at here.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from freehold.core.errors import InvalidRequest

# It logs a warning for each statement it does not know; those are refused below with a sentence.
logging.getLogger("sqlglot").setLevel(logging.ERROR)

MAX_CHARACTERS = 10_000

_HINT = "write one SELECT over the tables that an empty query lists"

#: Parts of a statement that change something, lock rows or leave SQL.
_FORBIDDEN: tuple[type[exp.Expr], ...] = (
    exp.Insert,
    exp.Update,
    exp.Delete,
    exp.Merge,
    exp.Create,
    exp.Drop,
    exp.Alter,
    exp.Copy,
    exp.Set,
    exp.Command,
    exp.Into,
    exp.Lock,
    exp.Transaction,
    exp.Commit,
    exp.Rollback,
    exp.Kill,
    exp.Use,
)

#: Functions with a class of their own in the parser that can fill memory, or read what is not a table.
_FORBIDDEN_FUNCTIONS: tuple[type[exp.Expr], ...] = (
    exp.Repeat,
    exp.Pad,
    exp.ReadCSV,
    exp.ReadParquet,
    exp.NextValueFor,
    exp.XMLElement,
    exp.XMLTable,
)

#: Functions the parser knows only by name. A list of what is allowed: any function of the database could be anything.
_ALLOWED_FUNCTIONS = frozenset(
    """
    abs age array_agg array_length array_position array_remove array_to_string ascii btrim cardinality cbrt ceil ceiling char_length
    chr clock_timestamp coalesce concat concat_ws corr count covar_pop covar_samp cume_dist date_bin date_part date_trunc dense_rank
    div every exp first_value floor gcd greatest initcap isfinite json_agg json_array_elements json_array_elements_text
    json_array_length json_build_array json_build_object json_each json_each_text json_extract_path json_extract_path_text
    json_object_agg json_object_keys json_typeof jsonb_agg jsonb_array_elements jsonb_array_elements_text jsonb_array_length
    jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text jsonb_extract_path jsonb_extract_path_text jsonb_object_agg
    jsonb_object_keys jsonb_path_exists jsonb_path_query jsonb_typeof justify_days justify_hours justify_interval lag last_value lcm
    lead least left length ln localtimestamp log log10 lower ltrim make_date make_interval make_time make_timestamp make_timestamptz
    md5 min_scale mod mode now nth_value ntile nullif num_nonnulls num_nulls numnode octet_length overlay percent_rank
    percentile_cont percentile_disc pi plainto_tsquery position power rank regexp_count regexp_like regexp_match regexp_matches
    regexp_replace regexp_split_to_array regexp_split_to_table regexp_substr regr_avgx regr_avgy regr_count regr_intercept regr_r2
    regr_slope replace reverse right round row_number row_to_json rtrim scale sign similarity sin cos tan split_part sqrt starts_with
    statement_timestamp stddev stddev_pop stddev_samp string_agg string_to_array strpos substr substring sum timezone to_char to_date
    to_json to_jsonb to_number to_timestamp to_tsquery to_tsvector translate trim trunc ts_headline ts_rank ts_rank_cd unaccent unnest
    upper var_pop var_samp variance websearch_to_tsquery width_bucket word_similarity
    """.split()  # noqa: SIM905 - a list of this length is read better as text
)


def check_select(sql: str, schemas: Collection[str]) -> exp.Query:
    """The parsed statement, when it is exactly one that only reads tables of these schemas.

    Raises:
        InvalidRequest: anything else, with what was refused.
    """
    statement = _single(sql)
    if not isinstance(statement, exp.Query):
        raise InvalidRequest(f"only a SELECT may be run here, not {statement.key.upper()}", hint=_HINT)
    for node in statement.walk():
        _check_node(node)
    for table in statement.find_all(exp.Table):
        _check_table(table, schemas)
    return statement


def limited(statement: exp.Query, rows: int) -> str:
    """The statement written anew, cut to so many rows; the original's order and its own limit hold."""
    return (
        exp.select("*").from_(statement.subquery("answer")).limit(rows).sql(dialect="postgres", normalize_functions=False, comments=False)
    )


def _single(sql: str) -> exp.Expression:
    if len(sql) > MAX_CHARACTERS:
        raise InvalidRequest(f"the statement is longer than {MAX_CHARACTERS} characters", hint=_HINT)
    if "\x00" in sql:
        raise InvalidRequest("the statement contains a NUL character", hint=_HINT)
    try:
        statements = [statement for statement in sqlglot.parse(sql, dialect="postgres") if statement is not None]
    except (SqlglotError, RecursionError) as error:
        raise InvalidRequest(f"this is not SQL that can be read: {str(error).splitlines()[0][:200]}", hint=_HINT) from error
    statements = [statement for statement in statements if not isinstance(statement, exp.Semicolon)]
    if len(statements) != 1:
        raise InvalidRequest(f"expected one statement, got {len(statements)}", hint=_HINT)
    return statements[0]  # type: ignore[return-value]  # parse() returns a wider base type


def _check_node(node: exp.Expr) -> None:
    if isinstance(node, _FORBIDDEN):
        raise InvalidRequest(f"only reading is allowed here, not {node.key.upper()}", hint=_HINT)
    if isinstance(node, _FORBIDDEN_FUNCTIONS):
        raise InvalidRequest(f"the function {node.key} may not be used", hint=_HINT)
    if isinstance(node, exp.Anonymous | exp.AnonymousAggFunc) and node.name.lower() not in _ALLOWED_FUNCTIONS:
        raise InvalidRequest(f"the function {node.name} may not be used", hint=_HINT)
    if isinstance(node, exp.Dot) and any(isinstance(part, exp.Func) for part in _parts(node)):
        raise InvalidRequest("functions may not be named with a schema", hint=_HINT)


def _parts(node: exp.Dot) -> Iterator[exp.Expr]:
    yield node.this
    yield node.expression


def _check_table(table: exp.Table, schemas: Collection[str]) -> None:
    if isinstance(table.this, exp.Func):
        return  # FROM generate_series(…): a function, checked as one
    name, schema = table.name.lower(), table.db.lower()
    if table.catalog:
        raise InvalidRequest(f"{table.sql()} names another database", hint=_HINT)
    # The system catalogue comes first in every search path, so its names are refused without a schema too.
    if name.startswith("pg_") or schema in {"pg_catalog", "information_schema"} or schema.startswith("pg_"):
        raise InvalidRequest(f"{table.sql()} is part of the system catalogue", hint="an empty query lists the tables and their columns")
    if schema and schema not in schemas:
        raise InvalidRequest(f"the schema {schema} may not be read", hint=f"allowed: {', '.join(sorted(schemas))}")
