"""The ONNX graph against a second implementation of the same model in plain numpy."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import erf
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from safetensors.numpy import save_file
from tests.support.tiny_bert import CONFIG, SHAPE, WORDS, weights

from freehold.core.errors import Incompatible
from freehold.rag.bert import OUTPUT, BertShape, read_weights, sentence_encoder


def by_hand(tensors: dict[str, np.ndarray], ids: list[int]) -> np.ndarray:
    """One text through the encoder, a position and a head at a time, as the paper writes it."""

    def linear(name: str, value: np.ndarray) -> np.ndarray:
        return value @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    def norm(name: str, value: np.ndarray) -> np.ndarray:
        centred = value - value.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + SHAPE.epsilon)
        return scaled * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]

    gelu = np.vectorize(lambda x: 0.5 * x * (1 + erf(x / 2**0.5)))
    embeddings = [tensors[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")]
    hidden = norm("embeddings.LayerNorm", embeddings[0][ids] + embeddings[1][: len(ids)] + embeddings[2][0])
    width = SHAPE.hidden // SHAPE.heads
    for layer in range(SHAPE.layers):
        prefix = f"encoder.layer.{layer}"
        query, key, value = (linear(f"{prefix}.attention.self.{part}", hidden) for part in ("query", "key", "value"))
        heads = []
        for head in range(SHAPE.heads):
            part = slice(head * width, (head + 1) * width)
            scores = np.exp(query[:, part] @ key[:, part].T / width**0.5)
            heads.append(scores / scores.sum(-1, keepdims=True) @ value[:, part])
        attended = linear(f"{prefix}.attention.output.dense", np.concatenate(heads, axis=-1))
        hidden = norm(f"{prefix}.attention.output.LayerNorm", attended + hidden)
        wide = gelu(linear(f"{prefix}.intermediate.dense", hidden))
        hidden = norm(f"{prefix}.output.LayerNorm", linear(f"{prefix}.output.dense", wide) + hidden)
    mean = hidden.mean(0)
    return mean / np.linalg.norm(mean)


@pytest.fixture(scope="module")
def encode() -> Callable[[list[list[int]]], np.ndarray]:
    model = sentence_encoder(SHAPE, weights())
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    def run(texts: list[list[int]]) -> np.ndarray:
        longest = max(map(len, texts))
        ids = np.array([text + [0] * (longest - len(text)) for text in texts], dtype=np.int64)
        mask = np.array([[1] * len(text) + [0] * (longest - len(text)) for text in texts], dtype=np.int64)
        result: np.ndarray = session.run([OUTPUT], {"input_ids": ids, "attention_mask": mask})[0]
        return result

    return run


@pytest.mark.parametrize("length", [1, 2, 7, 32])
def test_a_text_of_any_length_gives_the_vector_computed_by_hand(encode: Callable[..., np.ndarray], length: int) -> None:
    ids = [(3 + 7 * place) % WORDS for place in range(length)]
    np.testing.assert_allclose(encode([ids])[0], by_hand(weights(), ids), atol=2e-6)


def test_padding_beside_longer_texts_changes_nothing(encode: Callable[..., np.ndarray]) -> None:
    texts = [[1, 2, 3], [4] * 20, [5, 6]]
    expected = np.stack([by_hand(weights(), text) for text in texts])
    np.testing.assert_allclose(encode(texts), expected, atol=2e-6)


def test_vectors_have_length_one(encode: Callable[..., np.ndarray]) -> None:
    np.testing.assert_allclose(np.linalg.norm(encode([[1, 2], [3]]), axis=1), 1, atol=1e-6)


def test_weights_are_read_as_float32_by_name(tmp_path: Path) -> None:
    save_file({"a": np.ones((2, 3), dtype=np.float16)}, tmp_path / "model.safetensors")
    tensors = read_weights(tmp_path)
    assert (tensors["a"].dtype, tensors["a"].shape) == (np.float32, (2, 3))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "does not describe an embedding model"),
        ("{", "does not describe an embedding model"),
        ({key: value for key, value in CONFIG.items() if key != "hidden_size"}, "hidden_size"),
        (CONFIG | {"model_type": "xlm-roberta"}, "only BERT encoders"),
        (CONFIG | {"hidden_act": "relu"}, "bert/relu/absolute"),
        (CONFIG | {"position_embedding_type": "relative_key"}, "relative_key"),
    ],
)
def test_a_model_of_another_kind_is_refused_by_name(tmp_path: Path, config: object, message: str) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    with pytest.raises(Incompatible, match=message):
        BertShape.read(tmp_path)


def test_damaged_weights_are_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\x10\x00\x00")
    with pytest.raises(Incompatible) as caught:
        read_weights(tmp_path)
    assert "remove the folder" in str(caught.value)
