"""Which embedder the store gets, and what is said of one that does not work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.embeddings import Embeddings, FakeEmbeddings

from freehold.core.errors import ConfigError, GraphError
from freehold.graphs.project import Project, read_project
from freehold.graphs.store_index import OwnEmbedder, store_semantic

OWN = OwnEmbedder("own-model", 384, lambda: FakeEmbeddings(size=384))

MODULE = """
from langchain_core.embeddings import FakeEmbeddings

def texts(given: list[str]) -> list[list[float]]:
    return [[1.0, 2.0] for _ in given]

async def texts_later(given: list[str]) -> list[list[float]]:
    return [[3.0, 4.0] for _ in given]

made = FakeEmbeddings(size=2)
number = 7
"""


def project(folder: Path, index: dict[str, Any] | None) -> Project:
    (folder / "embedders_of_this_test.py").write_text(MODULE)
    store = {"store": {"index": index}} if index else {}
    (folder / "langgraph.json").write_text(json.dumps({"graphs": {"agent": "./agent.py:graph"}, **store}))
    return read_project(folder / "langgraph.json")


def test_without_a_word_nothing_is_embedded(tmp_path: Path) -> None:
    assert store_semantic(None, OWN, wanted=False) is None
    assert store_semantic(project(tmp_path, None), OWN, wanted=False) is None


def test_freehold_toml_lets_our_own_model_embed(tmp_path: Path) -> None:
    for served in (None, project(tmp_path, None)):
        semantic = store_semantic(served, OWN, wanted=True)
        assert semantic and (semantic.model, semantic.dims, semantic.fields) == ("own-model", 384, ("$",))


def test_an_index_that_names_no_embedder_gets_our_own(tmp_path: Path) -> None:
    semantic = store_semantic(project(tmp_path, {"dims": 384, "fields": ["text"]}), OWN, wanted=False)
    assert semantic and (semantic.model, semantic.fields) == ("own-model", ("text",))
    with pytest.raises(ConfigError, match="384 dimensions, got 7"):
        store_semantic(project(tmp_path, {"dims": 7}), OWN, wanted=False)


@pytest.mark.parametrize(("name", "vector"), [("texts", [1.0, 2.0]), ("texts_later", [3.0, 4.0])])
async def test_a_function_of_the_project_embeds(tmp_path: Path, name: str, vector: list[float]) -> None:
    semantic = store_semantic(project(tmp_path, {"dims": 2, "embed": f"./embedders_of_this_test.py:{name}"}), OWN, wanted=False)
    assert semantic and await semantic.embeddings.aembed_documents(["a"]) == [vector]


def test_embeddings_of_the_project_embed(tmp_path: Path) -> None:
    semantic = store_semantic(project(tmp_path, {"dims": 2, "embed": "./embedders_of_this_test.py:made"}), OWN, wanted=False)
    assert semantic and isinstance(semantic.embeddings, Embeddings)


def test_a_providers_model_is_named_as_langchain_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "not-a-key")
    semantic = store_semantic(project(tmp_path, {"dims": 1536, "embed": "openai:text-embedding-3-small"}), OWN, wanted=False)
    assert semantic and type(semantic.embeddings).__name__ == "OpenAIEmbeddings"


@pytest.mark.parametrize(
    ("embed", "error", "message"),
    [
        ("nobody:model", ConfigError, "store.index.embed"),
        ("./embedders_of_this_test.py:number", GraphError, "expected a function"),
        ("./embedders_of_this_test.py:missing", GraphError, 'no "missing"'),
        ("./nowhere.py:embed", GraphError, "no such file"),
    ],
)
def test_an_embedder_that_is_none_is_named(tmp_path: Path, embed: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        store_semantic(project(tmp_path, {"dims": 2, "embed": embed}), OWN, wanted=False)
