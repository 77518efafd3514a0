from __future__ import annotations

import re

import pytest

from freehold.core import errors
from freehold.core.errors import FreeholdError, NotFound


def subclasses(of: type[FreeholdError] = FreeholdError) -> list[type[FreeholdError]]:
    return [of, *(below for child in of.__subclasses__() if child.__module__ == errors.__name__ for below in subclasses(child))]


@pytest.mark.parametrize("error", subclasses())
def test_the_docstring_is_the_default_message(error: type[FreeholdError]) -> None:
    assert error.__doc__ and str(error()) == error.__doc__.strip().splitlines()[0]


def test_codes_are_unique() -> None:
    codes = [error.code for error in subclasses()]
    assert sorted(set(codes)) == sorted(codes)


def test_the_hint_stands_on_its_own_line() -> None:
    assert str(NotFound("no thread 7", hint="`freehold status` lists them")) == "no thread 7\nhint: `freehold status` lists them"


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = re.findall(r"^    ([│ ]*[├└]── )?([A-Z]\w+)", errors.__doc__ or "", flags=re.MULTILINE)
    assert [name for _, name in drawn] == [error.__name__ for error in subclasses()]
    depth = {name: len(lead) // 4 for lead, name in drawn}
    assert depth == {error.__name__: len(error.__mro__) - len(FreeholdError.__mro__) for error in subclasses()}
