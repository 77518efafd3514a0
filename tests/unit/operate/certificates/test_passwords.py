"""Names and passwords of the edge."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from freehold.core.errors import InvalidRequest, NotFound
from freehold.operate.certificates.passwords import change, hashed


def test_each_name_gets_a_password_of_its_own_that_the_file_does_not_hold(tmp_path: Path) -> None:
    file = tmp_path / "users"
    first, second = change(file, "ada"), change(file, "bob")
    assert first and second and first != second and len(first) > 20
    text = file.read_text()
    assert first not in text and [line.partition(":")[0] for line in text.splitlines()] == ["ada", "bob"]
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_name_that_is_there_gets_another_password_and_can_go(tmp_path: Path) -> None:
    file = tmp_path / "users"
    before = change(file, "ada")
    assert change(file, "ada") != before
    assert change(file, "ada", remove=True) is None
    assert file.read_text() == ""
    with pytest.raises(NotFound):
        change(file, "ada", remove=True)


@pytest.mark.parametrize("name", ["", "a:b", "a\nb", "#a"])
def test_a_name_that_no_line_can_begin_with_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidRequest):
        change(tmp_path / "users", name)


def test_the_hash_is_salted() -> None:
    raw = base64.b64decode(hashed("secret", b"salt").removeprefix("{SSHA}"))
    assert raw == hashlib.sha1(b"secretsalt").digest() + b"salt"
    assert hashed("secret") != hashed("secret")
