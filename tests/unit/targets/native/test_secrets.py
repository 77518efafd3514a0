"""Secrets as files: who knows which, which role each is the password of, when it was changed."""

from __future__ import annotations

from pathlib import Path

from tests.support.programs import process, stack

from freehold.stack.service import Secret
from freehold.targets.native import secrets
from freehold.targets.native.process import TextFile

OWNER = "postgresql://freehold_owner:${secret:postgres_owner}@/freehold?host=/run"
WEBUI = "postgresql://webui:${secret:postgres_webui}@/webui?host=/run"
SUPERUSER = "postgresql://postgres@/postgres?host=/run"


def test_who_knows_a_secret_is_seen_in_variables_arguments_and_files(tmp_path: Path) -> None:
    found = secrets.users(
        stack(
            process("a", ("a",), env={"URL": "x${secret:one}y"}),
            process("b", ("b", f"--key-file={tmp_path}/two")),
            process("c", ("c",), files=(TextFile("/f", f"key: {tmp_path}/two\n"),), env={"KEY": "${secret:one}"}),
            process("migrate", ("m",), kind="task", env={"KEY": "${secret:one}"}),
        ),
        tmp_path,
    )
    assert found == {"one": ("a", "c"), "two": ("b", "c")}


def test_roles_are_those_that_the_migration_makes() -> None:
    env = {
        "FREEHOLD_MIGRATION_DATABASE_URL": OWNER,
        "FREEHOLD_PROVISION_DATABASE_URL": SUPERUSER,
        "FREEHOLD_SERVICE_DATABASE_URLS": f"{WEBUI} {WEBUI.replace('webui', 'mlflow')}",
    }
    assert secrets.roles(stack(process("migrate", ("m",), kind="task", env=env))) == {
        "postgres_owner": "freehold_owner",
        "postgres_webui": "webui",
        "postgres_mlflow": "mlflow",
    }


def test_a_server_that_is_not_ours_has_no_roles_of_ours() -> None:
    assert secrets.roles(stack(process("migrate", ("m",), kind="task", env={"DATABASE_URL": "${secret:database_url}"}))) == {}


def test_a_secret_without_a_value_was_never_changed(tmp_path: Path) -> None:
    secrets.ensure(tmp_path, [Secret("one", "generated", "")], {})
    assert secrets.changed(tmp_path, "one") is not None
    assert secrets.changed(tmp_path, "two") is None
