"""PostgreSQL's programs as they are called for containers: the password is the first line they read; and the hash that roles are given."""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from freehold.core.errors import StorageUnavailable
from freehold.core.progress import Silent
from freehold.operate import backup
from freehold.operate.backup.compose import _WITH_PASSWORD
from freehold.operate.backup.postgres import Server
from freehold.operate.rotate.compose import scram, verifier
from freehold.targets.native import programs


def server(url: str, password: str | None = None) -> Server:
    """The programs behind the shell that reads the password, as in a container, as the owner of one database."""
    parts = urlsplit(url)
    found = programs.postgres(programs.postgres_folder())
    reached = ("--host", parse_qs(parts.query)["host"][0], "--username", parts.username or "")
    return Server(
        programs={name: (*_WITH_PASSWORD, *found[name], *reached) for name in ("pg_dump", "pg_restore", "psql")},
        databases={parts.path.lstrip("/"): parts.username or ""},
        first_line=lambda: password or parts.password or "",
        only_schema="freehold",
    )


async def test_a_schema_is_saved_and_replaced_by_programs_that_read_their_password(owner_database_url: str, tmp_path: Path) -> None:
    used = server(owner_database_url)
    (database,) = used.databases
    await used.execute("CREATE TABLE freehold.mine AS SELECT 42 AS number; CREATE TABLE public.theirs AS SELECT 1 AS n;", database=database)
    done = await backup.backup(used, tmp_path / "a.backup", Silent())
    assert done.manifest.scope == "schema"
    await used.execute("UPDATE freehold.mine SET number = 0; CREATE TABLE freehold.later (id int);", database=database)
    await backup.restore(used, tmp_path / "a.backup", Silent())
    assert await used.ask("SELECT number FROM freehold.mine", database=database) == [["42"]]
    assert await used.ask("SELECT to_regclass('freehold.later') IS NULL, n FROM public.theirs", database=database) == [["t", "1"]]


async def test_a_restore_that_fails_changes_nothing(owner_database_url: str, tmp_path: Path) -> None:
    used = server(owner_database_url)
    (database,) = used.databases
    await used.execute("CREATE TABLE freehold.mine AS SELECT 42 AS number;", database=database)
    await backup.backup(used, tmp_path / "a.backup", Silent())
    await used.execute("UPDATE freehold.mine SET number = 0;", database=database)
    await used.execute("CREATE VIEW public.needs_it AS SELECT * FROM freehold.mine; ", database=database)
    broken = Server(
        programs={**used.programs, "pg_restore": ("sh", "-c", "cat > /dev/null; echo SELECT 1\\;; exit 3")},
        databases=used.databases,
        first_line=used.first_line,
        only_schema="freehold",
    )
    with pytest.raises(StorageUnavailable):
        await backup.restore(broken, tmp_path / "a.backup", Silent())
    assert await used.ask("SELECT number FROM public.needs_it", database=database) == [["0"]]


async def test_a_wrong_password_is_said_and_is_in_no_message(owner_database_url: str) -> None:
    used = server(owner_database_url, "not-the-password")
    with pytest.raises(StorageUnavailable) as error:
        await used.ask("SELECT 1", database=next(iter(used.databases)))
    assert "password authentication failed" in str(error.value)
    assert "not-the-password" not in str(error.value)


def test_our_hash_of_a_password_is_the_one_that_postgres_makes(owner_database_url: str) -> None:
    with psycopg.connect(owner_database_url) as connection:
        theirs = connection.pgconn.encrypt_password(b"a-password", b"somebody", b"scram-sha-256").decode()
    salt = base64.b64decode(theirs.split("$")[1].split(":")[1])
    assert verifier("a-password", salt) == theirs
    assert scram("a-password") != scram("a-password")
