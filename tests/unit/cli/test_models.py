import json
from pathlib import Path

import pytest

from freehold.cli.main import main
from freehold.models import catalogue, download
from freehold.models.download import files

TINY = catalogue.find("smollm2-135m-instruct")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FREEHOLD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CI", "1")
    return tmp_path / "cache"


def hold(cache: Path) -> Path:
    """Let the cache have a model, as far as its stamp says."""
    folder = download.folder_of(TINY, cache)
    folder.mkdir(parents=True)
    path = folder / TINY.files[0].path
    path.write_bytes(b"GGUF")
    files.record(folder, TINY.files[0])
    return path


def test_the_list_names_every_model_and_what_is_here(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hold(cache)
    assert main(["models", "list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert {model.id for model in catalogue.models()} <= lines.keys()
    assert "98.4 MB  yes" in lines[TINY.id]
    assert "1.12 GB  no" in lines["qwen2.5-coder-1.5b-instruct"]


def test_the_list_as_json_has_the_facts(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--json"]) == 0
    found = {model["id"]: model for model in json.loads(capsys.readouterr().out)}
    assert found["gpt-oss-20b"]["tool_parser"] == "openai"
    assert found["qwen2.5-coder-1.5b-instruct"]["files"][0]["sha256"].startswith("cc324af0")
    assert found[TINY.id]["cached"] is False


def test_one_model_is_shown_with_what_its_facts_rest_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "gpt-oss-20b"]) == 0
    out = capsys.readouterr().out
    assert "openai/gpt-oss-20b" in out
    assert "hub not reached, so revision, sizes and hashes are left out" in out
    assert "revision  " not in out


def test_where_names_the_folder_or_the_file(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = hold(cache)
    assert main(["models", "where"]) == 0
    assert main(["models", "where", TINY.id]) == 0
    assert capsys.readouterr().out.splitlines() == [str(cache / "models"), str(path)]


def test_a_model_that_is_not_here_has_no_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "where", TINY.id]) == 1
    assert f"hint: `freehold models pull {TINY.id}` fetches it" in capsys.readouterr().err


def test_rm_frees_what_the_model_took(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = hold(cache)
    assert main(["models", "rm", TINY.id, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["freed_bytes"] > 4
    assert not path.parent.exists()
    assert main(["models", "rm", TINY.id]) == 0
    assert capsys.readouterr().out == f"{TINY.id} is not here\n"


def test_pulling_what_is_here_says_where(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = hold(cache)
    assert main(["models", "pull", TINY.id, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"id": TINY.id, "path": str(path)}


def test_pulling_offline_what_is_not_here_fails(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "pull", TINY.id, "--offline"]) == 1
    assert f"{TINY.id} is not in {cache}" in capsys.readouterr().err


def test_an_unknown_model_is_a_configuration_error_with_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "gpt-oss-21b"]) == 3
    assert 'did you mean "gpt-oss-20b"?' in capsys.readouterr().err
