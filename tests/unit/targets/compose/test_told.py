"""What is read out of a Compose folder, as Compose itself tells of the checked-in one with everything in it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.support import compose

from freehold.targets.compose.told import Told, parse

GOLDEN = Path(__file__).parents[3] / "golden" / "stacks" / "everything" / "compose"


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Told:
    folder = tmp_path_factory.mktemp("everything") / "compose"
    shutil.copytree(GOLDEN, folder)
    command = [str(compose.binary()), "--file", str(folder / "compose.yaml"), "config", "--format", "json"]
    return parse(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def test_who_knows_a_secret_comes_after_what_it_needs_and_tasks_are_not_among_them(everything: Told) -> None:
    users = everything.users("postgres_app")
    assert {"server", "worker"} <= set(users)
    assert "migrate" not in users
    assert everything.users("nobody_knows_it") == ()
    assert everything.services.index("postgres") < everything.services.index("migrate") < everything.services.index("server")


def test_roles_are_those_of_the_migration(everything: Told) -> None:
    roles = everything.roles
    assert {name: roles[name] for name in ("postgres_superuser", "postgres_owner", "postgres_webui")} == {
        "postgres_superuser": "postgres",
        "postgres_owner": "freehold_owner",
        "postgres_webui": "webui",
    }


def test_databases_are_ours_and_those_of_services_with_their_owners(everything: Told) -> None:
    assert everything.databases["freehold"] == "freehold_owner"
    assert everything.databases["webui"] == "webui"
    assert "postgres" not in everything.databases


def test_a_stack_on_a_server_of_somebody_else_has_no_databases_of_ours() -> None:
    found = parse({"services": {"migrate": {"environment": {"DATABASE_URL": "{{secret:database_url}}"}, "restart": "on-failure:3"}}})
    assert (found.has_own_postgres, dict(found.databases), dict(found.roles)) == (False, {}, {})
