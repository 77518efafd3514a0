"""`freehold keys` and `freehold audit` as the programs they are, on a real database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from freehold.core.errors import Unauthenticated
from freehold.core.permissions import GROUPS
from freehold.storage.api_keys import ApiKeys
from freehold.storage.audit import AuditEntry, AuditLog
from freehold.storage.pool import create_pool


class Program:
    """The program in a folder of its own."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self._folder, self.database_url = folder, database_url

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "freehold", *arguments],
            cwd=self._folder,
            env={**os.environ, "DATABASE_URL": self.database_url},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def json(self, *arguments: str) -> object:
        done = self(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def freehold(tmp_path: Path, database_url: str) -> Program:
    return Program(tmp_path, database_url)


async def test_a_key_is_made_listed_rotated_and_revoked(freehold: Program) -> None:
    made = freehold("keys", "create", "laptop", "--owner", "ada", "--organisation", "acme", "--scope", "run", "--scope", "store:put")
    assert made.returncode == 0, made.stderr
    key = made.stdout.splitlines()[0]
    (listed,) = freehold.json("keys", "list")  # type: ignore[misc]
    assert (listed["name"], listed["owner"], listed["organisation"], listed["state"]) == ("laptop", "ada", "acme", "active")
    assert listed["scopes"] == ["run", "store:put"] and key not in json.dumps(listed)
    rotated = freehold.json("keys", "rotate", listed["key_id"], "--grace", "1h")
    assert rotated["key"] != key and rotated["replaces"] == listed["key_id"]  # type: ignore[index]
    async with create_pool(freehold.database_url, max_size=1) as pool:
        for working in (key, rotated["key"]):  # type: ignore[index]
            caller = await ApiKeys(pool).caller(working)
            assert caller and (caller.organisation, caller.owner) == ("acme", "ada")
            assert caller.permissions == GROUPS["run"] | {"store:put"}
        freehold.json("keys", "revoke", listed["key_id"])
        assert await ApiKeys(pool).caller(key) is None
    shown = freehold("keys", "list").stdout
    assert "revoked" in shown and "active" in shown and "run store:put" in shown


async def test_a_key_may_end_by_itself(freehold: Program) -> None:
    made = freehold.json("keys", "create", "short", "--expires", "1h")
    async with create_pool(freehold.database_url, max_size=1) as pool:
        assert await ApiKeys(pool).caller(made["key"])  # type: ignore[index]
        async with pool.connection() as conn:
            await conn.execute("UPDATE freehold.api_keys SET expires_at = expires_at - interval '1 hour'")
        with pytest.raises(Unauthenticated, match="expired"):
            await ApiKeys(pool).caller(made["key"])  # type: ignore[index]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "x", "--scope", "thread:read"), 'did you mean "threads:read"?'),
        (("create", "x", "--expires", "soon"), "--expires: expected an age"),
        (("create", "x", "--expires", "0d"), "--expires: expected an age above zero"),
        (("create", " "), "NAME: expected a name"),
        (("create", "x", "--organisation", ""), "--organisation: expected a name"),
        (("rotate", "abc"), "abc is not the id of a key"),
        (("rotate", str(uuid4())), "no active key"),
        (("revoke", str(uuid4())), "no active key"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(freehold: Program, arguments: tuple[str, ...], said: str) -> None:
    done = freehold("keys", *arguments)
    assert done.returncode != 0 and said in done.stderr and not done.stdout


async def test_who_did_what_is_shown_for_all_organisations(freehold: Program) -> None:
    def entry(owner: str, action: str, hours_ago: float) -> AuditEntry:
        at = datetime.now(UTC) - timedelta(hours=hours_ago)
        return AuditEntry(at, f"org-{owner}", owner, "", action, {"thread_id": "t-1"}, 204, "r", "10.0.0.9")

    async with create_pool(freehold.database_url, max_size=1) as pool:
        await AuditLog(pool).append([entry("ada", "threads.delete", 50), entry("bob", "threads.create", 1), entry("", "GET /info", 0)])
    table = freehold("audit").stdout.splitlines()
    assert len(table) == 4 and "GET /info" in table[1] and "thread_id=t-1" in table[2]
    assert [item["owner"] for item in freehold.json("audit", "--action", "threads")] == ["bob", "ada"]  # type: ignore[attr-defined]
    assert [item["owner"] for item in freehold.json("audit", "--owner", "ada")] == ["ada"]  # type: ignore[attr-defined]
    assert len(freehold.json("audit", "--since", "24h")) == 2  # type: ignore[arg-type]
    assert len(freehold.json("audit", "--since", "2020-01-01", "--limit", "1")) == 1  # type: ignore[arg-type]
    assert "--since: expected an age" in freehold("audit", "--since", "yesterday").stderr
