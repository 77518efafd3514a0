"""Arithmetic for models, by walking the syntax tree: nothing is ever evaluated as code, and no expression can run long.

Integers are exact. Decimal fractions are computed as decimals, so 0.1 + 0.2 is 0.3; functions such as sqrt use floats.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from decimal import Context, Decimal, DecimalException, Overflow, localcontext
from fractions import Fraction
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, Field

from freehold.core.errors import InvalidRequest

NAME = "calculate"

MAX_CHARACTERS = 500
MAX_DEPTH = 50
MAX_DIGITS = 1000

#: Digits kept of decimals, and of results that are not whole.
_PRECISION = 28
_SHOWN_DIGITS = 15

Number = int | float | Decimal

_CONSTANTS: Mapping[str, float] = {"pi": math.pi, "e": math.e, "tau": math.tau}

_HINT = "use numbers, + - * / // % **, parentheses, and functions such as sqrt(2), round(x, 2), min, max, log, sin; e.g. (42 * 17) / 3"


class CalculateArguments(BaseModel):
    """Arguments of `calculate`."""

    expression: str = Field(description='An arithmetic expression, e.g. "42 * 17" or "round(sqrt(2) * 100, 2)".')


def tool() -> BaseTool:
    """The `calculate` tool."""
    return StructuredTool.from_function(
        coroutine=_answer,
        name=NAME,
        description="Calculator: evaluates an arithmetic expression exactly. Use it for every calculation, also in follow-up questions.",
        args_schema=CalculateArguments,
    )


async def _answer(expression: str) -> str:
    return f"{expression.strip()} = {show(calculate(expression))}"  # models answer better from an equation than from a bare number


def calculate(expression: str) -> Number:
    """The value of an arithmetic expression, e.g. `"42 * 17"` → 714, `"0.1 + 0.2"` → Decimal("0.3").

    Raises:
        InvalidRequest: it is not arithmetic, is undefined, or is too large; at once, whatever its size would be.
    """
    text = _normalise(expression)
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InvalidRequest(f"{expression[:80]!r} is not an arithmetic expression", hint=_HINT) from error
    try:
        with localcontext(Context(prec=_PRECISION, Emax=2 * MAX_DIGITS, Emin=-2 * MAX_DIGITS)):
            return _within_limits(_value(tree.body, 0))
    except ZeroDivisionError as error:
        raise InvalidRequest(f"{expression[:80]!r} divides by zero") from error
    except (OverflowError, Overflow) as error:
        raise InvalidRequest(f"the result of {expression[:80]!r} is too large") from error
    except (ValueError, TypeError, ArithmeticError, DecimalException) as error:
        raise InvalidRequest(f"{expression[:80]!r} has no value: {_reason(error)}") from error


def show(value: Number) -> str:
    """`714`, `0.3`, `1.4142135623731`: whole results without a point, others without binary noise."""
    if isinstance(value, int):
        return str(value)
    decimal = value if isinstance(value, Decimal) else Decimal(repr(value))
    is_exact = isinstance(value, Decimal) and len(decimal.as_tuple().digits) < _PRECISION
    rounded = decimal if is_exact else Context(prec=_SHOWN_DIGITS).plus(decimal)
    if rounded == rounded.to_integral_value() and abs(rounded) < Decimal(10) ** _PRECISION:
        return str(int(rounded))
    exponent = rounded.adjusted()
    return f"{rounded.normalize():f}" if -7 <= exponent <= 20 else f"{rounded.normalize():E}"


def _normalise(expression: str) -> str:
    text = expression.strip().rstrip("=?").strip()
    if not text or len(text) > MAX_CHARACTERS:
        raise InvalidRequest(f"expected an expression of 1 to {MAX_CHARACTERS} characters, got {len(text)}", hint=_HINT)
    text = text.replace("×", "*").replace("·", "*").replace("÷", "/").replace("−", "-").replace("^", "**").replace("π", "pi")
    if not re.search(r"[a-zA-Z]\s*\(", text):  # 1,000,000; but max(1,000) has two arguments
        text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    text = re.sub(r"(?<=\d)\s*%\s*of\b", "/100*", text)
    # A percentage, where the sign cannot be the remainder: 15% at the end, before ) * or /.
    return re.sub(r"(\d+(?:\.\d+)?)\s*%(?=\s*(?:$|[)*/]))", r"(\1/100)", text)


def _value(node: ast.expr, depth: int) -> Number:
    if depth > MAX_DEPTH:
        raise InvalidRequest(f"the expression is nested more than {MAX_DEPTH} deep", hint="calculate it in parts")
    match node:
        case ast.Constant(value=bool() | str() | bytes() | complex() | None):
            raise InvalidRequest(f"{ast.unparse(node)[:40]} is not a number", hint=_HINT)
        case ast.Constant(value=int() as number):
            return _within_limits(number)
        case ast.Constant(value=float() as number):
            return _decimal(number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, depth + 1)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand, depth + 1)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _within_limits(_OPERATORS[type(op)](*_same_kind(_value(left, depth + 1), _value(right, depth + 1))))
        case ast.Name(id=name) if name.lower() in _CONSTANTS:
            return _CONSTANTS[name.lower()]
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name.lower() in _FUNCTIONS:
            return _within_limits(_FUNCTIONS[name.lower()](*[_value(argument, depth + 1) for argument in arguments]))
        case ast.Call(func=ast.Attribute(value=ast.Name(id="math"), attr=name), args=arguments, keywords=[]):
            return _value(ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]), depth + 1)
        case ast.Attribute(value=ast.Name(id="math"), attr=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
    raise InvalidRequest(f"{_source(node)} is not arithmetic this calculator knows", hint=_HINT)


def _power(base: Number, exponent: Number) -> Number:
    """Refused by its size before it is computed: 9**9**9 would fill the memory."""
    if isinstance(exponent, int) and isinstance(base, int):
        if exponent < 0:
            return _divide(1, _power(base, -exponent))
        if abs(base) > 1 and exponent * math.log10(abs(base)) > MAX_DIGITS:
            raise OverflowError
        return int(base**exponent) if abs(base) > 1 or exponent < 2 else int(base ** (2 - exponent % 2))
    result = float(base) ** float(exponent)
    if isinstance(result, complex):
        raise ValueError("the root of a negative number")
    if isinstance(base, Decimal) and isinstance(exponent, int | Decimal) and exponent == int(exponent):
        return Decimal(base ** int(exponent))
    return float(result)


def _divide(left: Any, right: Any) -> Number:
    if isinstance(left, int) and isinstance(right, int):
        exact = Fraction(left, right)
        return exact.numerator if exact.denominator == 1 else Decimal(left) / Decimal(right)
    quotient: Number = left / right
    return quotient


def _floor_divide(left: Any, right: Any) -> Number:
    # Decimal's own // cuts towards zero; people and Python's integers expect the floor.
    is_decimal = isinstance(left, Decimal) and isinstance(right, Decimal)
    quotient: Number = math.floor(left / right) if is_decimal else left // right
    return quotient


def _modulo(left: Any, right: Any) -> Number:
    is_decimal = isinstance(left, Decimal) and isinstance(right, Decimal)
    remainder: Number = left - right * _floor_divide(left, right) if is_decimal else left % right
    return remainder


# Operands reach these through _same_kind, which the type checker cannot follow; hence Any above.
_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: _divide,
    ast.FloorDiv: _floor_divide,
    ast.Mod: _modulo,
    ast.Pow: _power,
}


def _floating(function: Callable[..., float]) -> Callable[..., Number]:
    return lambda *arguments: function(*[float(argument) for argument in arguments])


def _square_root(value: Number) -> Number:
    if isinstance(value, int) and value >= 0 and math.isqrt(value) ** 2 == value:
        return math.isqrt(value)
    return math.sqrt(value)


def _round(value: Number, digits: Number = 0) -> Number:
    if not isinstance(digits, int) or abs(digits) > _PRECISION:
        raise ValueError("round takes a whole number of digits")
    exact = _decimal(value) if isinstance(value, float) else Decimal(value)
    return round(exact, digits) if digits else round(exact)


def _factorial(value: Number) -> Number:
    if not isinstance(value, int) or value > 400:
        raise ValueError("factorial takes a whole number of at most 400")
    return math.factorial(value)


def _sum(*values: Number) -> Number:
    total: Number = 0
    for value in values:
        total = _OPERATORS[ast.Add](*_same_kind(total, value))
    return total


def _largest(*values: Number) -> Number:
    return max(values)


def _smallest(*values: Number) -> Number:
    return min(values)


def _choose(value: Number, of: Number) -> Number:
    if not isinstance(value, int) or not isinstance(of, int) or value > 400:
        raise ValueError("comb takes whole numbers of at most 400")
    return math.comb(value, of)


_FUNCTIONS: Mapping[str, Callable[..., Number]] = {
    "abs": abs,
    "acos": _floating(math.acos),
    "asin": _floating(math.asin),
    "atan": _floating(math.atan),
    "atan2": _floating(math.atan2),
    "ceil": math.ceil,
    "comb": _choose,
    "cos": _floating(math.cos),
    "degrees": _floating(math.degrees),
    "exp": _floating(math.exp),
    "factorial": _factorial,
    "float": lambda value: value,
    "floor": math.floor,
    "gcd": lambda left, right: math.gcd(left, right),
    "hypot": _floating(math.hypot),
    "int": math.trunc,
    "lcm": lambda left, right: math.lcm(left, right),
    "ln": _floating(math.log),
    "log": _floating(math.log),
    "log10": _floating(math.log10),
    "log2": _floating(math.log2),
    "max": _largest,
    "min": _smallest,
    "pow": lambda base, exponent: _power(*_same_kind(base, exponent)),
    "radians": _floating(math.radians),
    "round": _round,
    "sin": _floating(math.sin),
    "sqrt": _square_root,
    "sum": _sum,
    "tan": _floating(math.tan),
    "trunc": math.trunc,
}


def _same_kind(left: Number, right: Number) -> tuple[Number, Number]:
    """Decimals and integers meet as decimals; a float makes both floats."""
    if isinstance(left, float) or isinstance(right, float):
        return float(left), float(right)
    if isinstance(left, Decimal) or isinstance(right, Decimal):
        return Decimal(left), Decimal(right)
    return left, right


def _decimal(number: float) -> Decimal:
    if not math.isfinite(number):
        raise OverflowError
    return Decimal(repr(number))  # the digits as written: 0.1, not 0.1000000000000000055


def _within_limits(value: Number) -> Number:
    if isinstance(value, int):
        if value.bit_length() > MAX_DIGITS * math.log2(10):
            raise OverflowError
    elif isinstance(value, float):
        if math.isnan(value):
            raise ValueError("not a number")
        if math.isinf(value):
            raise OverflowError
    return value


def _reason(error: Exception) -> str:
    text = str(error)
    return text if text and not text.startswith("[<class") else "it is not defined there"


def _source(node: ast.expr) -> str:
    name = node.func if isinstance(node, ast.Call) else node
    try:
        return repr(ast.unparse(name)[:60])
    except (RecursionError, ValueError):
        return "this"
