"""The real embedding model: known similarities, and what batching, length and threads must not change."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from safetensors.numpy import save_file
from tests.support import documents, tiny_bert

from freehold.config import paths
from freehold.core.errors import ConfigError, Incompatible
from freehold.core.progress import Silent
from freehold.models.download import fetch_embedding
from freehold.rag.bert import OUTPUT, BertShape, read_weights, sentence_encoder
from freehold.rag.embed import DIMENSIONS, Embedder, _batches

TEXTS = [
    "A man is eating food.",
    "A man is eating a piece of bread.",
    "The girl is carrying a baby.",
    "Postgres keeps every checkpoint of a run; a worker that lost its lease writes nothing more.",
    "27 days of paid leave a year, counted from 1 April to 31 March. " * 12,
    "Ferien, congés, 休暇",
]


@pytest.fixture
async def embedder() -> Embedder:
    return await documents.embedder()


@pytest.fixture
async def model_folder() -> Path:
    return await fetch_embedding(documents.EMBEDDING_MODEL, paths.cache(), Silent())


async def test_vectors_are_float32_of_length_one_in_the_order_of_the_texts(embedder: Embedder) -> None:
    vectors = await embedder.embed(TEXTS)
    assert (vectors.dtype, vectors.shape) == (np.float32, (len(TEXTS), DIMENSIONS))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for row, text in enumerate(TEXTS):
        alone = await embedder.embed_query(text)
        assert alone @ vectors[row] > 0.97  # int8: activations are scaled by batch
        assert int(np.argmax(vectors @ alone)) == row


async def test_known_pairs_are_as_similar_as_the_model_card_says(embedder: Embedder) -> None:
    food, bread, unrelated = await embedder.embed(TEXTS[:3])
    assert food @ bread == pytest.approx(0.755, abs=0.02)
    assert abs(food @ unrelated) < 0.15


async def test_int8_stays_close_to_the_float32_graph(embedder: Embedder, model_folder: Path) -> None:
    model = sentence_encoder(BertShape.read(model_folder), read_weights(model_folder))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for text, vector in zip(TEXTS, await embedder.embed(TEXTS), strict=True):
        ids = np.array([embedder._tokenizer.encode(text).ids], dtype=np.int64)
        exact = session.run([OUTPUT], {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0]
        assert exact @ vector > 0.97


async def test_no_texts_give_no_vectors(embedder: Embedder) -> None:
    assert (await embedder.embed([])).shape == (0, DIMENSIONS)


async def test_a_very_long_text_is_cut_not_refused(embedder: Embedder) -> None:
    vector = await embedder.embed_query("weather station " * 20_000)
    assert vector.shape == (DIMENSIONS,)


async def test_the_event_loop_stays_free_while_texts_are_embedded(embedder: Embedder) -> None:
    task = asyncio.create_task(embedder.embed(["word " * 200] * 40))
    ticks = 0
    while not task.done():
        await asyncio.sleep(0)
        ticks += 1
    assert ticks > 100


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([], []),
        ([5], [[0]]),
        ([200, 3, 190, 4], [[1, 3], [2, 0]]),
        ([1] * 17, [list(range(16)), [16]]),
        ([256] * 9, [list(range(8)), [8]]),
        ([2000, 2000, 1], [[2], [0], [1]]),
    ],
)
def test_texts_of_like_length_share_a_batch_within_the_limits(lengths: list[int], expected: list[list[int]]) -> None:
    assert _batches(lengths) == expected


async def test_the_int8_model_is_made_once_and_anew_for_other_weights(model_folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        shutil.copy2(model_folder / name, tmp_path / name)
    Embedder(tmp_path)
    (made,) = tmp_path.glob("*.onnx")
    before = made.stat().st_mtime_ns
    Embedder(tmp_path)
    assert made.stat().st_mtime_ns == before
    assert not list(tmp_path.glob(".int8-*"))

    (tmp_path / "model.safetensors").touch()  # "other weights", as far as one can tell without reading them
    Embedder(tmp_path)
    assert len(list(tmp_path.glob("*.onnx"))) == 1
    assert not made.exists()


async def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(Incompatible, match="is not complete"):
        Embedder(tmp_path)


async def test_a_model_of_another_dimension_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(tiny_bert.CONFIG))
    save_file(tiny_bert.weights(), tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=r"knowledge\.embedding_model: tiny makes vectors of 24 dimensions, the index stores 384"):
        Embedder(tmp_path, name="tiny")


async def test_a_damaged_tokenizer_is_named(model_folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(model_folder / name)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"version": "1.0"}))
    with pytest.raises(Incompatible, match=r"tokenizer\.json cannot be read"):
        Embedder(tmp_path)
