"""Writes a BERT sentence encoder as an ONNX graph straight from its safetensors, so that nobody needs torch to embed a text.

The graph takes `input_ids` and `attention_mask` (int64, [texts, tokens]) and returns `sentence_embedding` (float32,
[texts, hidden]): the encoder, the mean over the tokens that are not padding, and L2 normalisation. Layout and names of the
weights are those of BERT as published on the model hub (`encoder.layer.0.attention.self.query.weight`, ...).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors import SafetensorError
from safetensors.numpy import load_file

from freehold.core.errors import Incompatible

#: LayerNormalization exists since opset 17.
_OPSET = 17

#: Added to the attention scores of padding; far below any real score, far above the limit of float16.
_MASKED = -30000.0

OUTPUT = "sentence_embedding"  # a shorter "embedding" collides with a name inside the graph and the session refuses the file

Array = NDArray[np.float32]


@dataclass(frozen=True)
class BertShape:
    """What the graph needs to know from `config.json`."""

    layers: int
    hidden: int
    heads: int
    epsilon: float
    positions: int

    @classmethod
    def read(cls, folder: Path) -> BertShape:
        """Read `config.json` of a model folder.

        Raises:
            Incompatible: it is missing, or not of a BERT encoder with GELU and absolute positions.
        """
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            found = (config["model_type"], config["hidden_act"], config.get("position_embedding_type", "absolute"))
            if found != ("bert", "gelu", "absolute"):
                raise Incompatible(f"the embedding model in {folder} is {'/'.join(found)}; only BERT encoders are supported")
            return cls(
                layers=config["num_hidden_layers"],
                hidden=config["hidden_size"],
                heads=config["num_attention_heads"],
                epsilon=config["layer_norm_eps"],
                positions=config["max_position_embeddings"],
            )
        except (OSError, ValueError, KeyError) as error:
            raise Incompatible(f"{folder / 'config.json'} does not describe an embedding model: {error!r}") from error


def read_weights(folder: Path) -> dict[str, Array]:
    """The float32 tensors of `model.safetensors` by name.

    Raises:
        Incompatible: the file is missing or damaged.
    """
    try:
        return {name: tensor.astype(np.float32) for name, tensor in load_file(folder / "model.safetensors").items()}
    except (OSError, SafetensorError) as error:
        raise Incompatible(
            f"the weights of the embedding model in {folder} cannot be read: {error}",
            hint="remove the folder; it is fetched again on the next use",
        ) from error


def sentence_encoder(shape: BertShape, weights: dict[str, Array]) -> onnx.ModelProto:
    """The float32 graph; batch and length are free dimensions."""
    graph = _Graph()
    hidden = _embeddings(graph, shape, weights)
    ones = graph.op("Cast", "attention_mask", to=TensorProto.FLOAT)
    bias = graph.op("Mul", graph.op("Sub", graph.constant(1.0), ones), graph.constant(_MASKED))
    bias = graph.op("Unsqueeze", bias, graph.integers(1, 2))  # [texts, 1, 1, tokens]: the same for every head and query
    for number in range(shape.layers):
        hidden = _layer(graph, shape, weights, f"encoder.layer.{number}", hidden, bias)
    _pool(graph, hidden, ones)
    return graph.model(shape.hidden)


class _Graph:
    """Collects nodes and constants; every value gets a number for a name."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        name = output or f"value_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], name=f"{kind}_{len(self._nodes)}", **attributes))
        return name

    def constant(self, value: float | Array | NDArray[np.int64]) -> str:
        array = np.asarray(value, dtype=np.float32) if isinstance(value, float) else value
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array) if array.ndim else array, name))
        return name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, dtype=np.int64))

    def model(self, hidden: int) -> onnx.ModelProto:
        inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["texts", "tokens"]) for name in ("input_ids", "attention_mask")]
        outputs = [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["texts", hidden])]
        graph = helper.make_graph(self._nodes, "sentence_encoder", inputs, outputs, self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], producer_name="freehold")
        model.ir_version = 8  # the one that belongs to this opset: older runtimes load it too
        onnx.checker.check_model(model)
        return model


def _embeddings(graph: _Graph, shape: BertShape, weights: dict[str, Array]) -> str:
    words = graph.op("Gather", graph.constant(weights["embeddings.word_embeddings.weight"]), "input_ids")
    # A single text has token type 0 throughout, so that row is added to the position table here, once.
    table = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    length = graph.op("Slice", graph.op("Shape", "input_ids"), graph.integers(1), graph.integers(2))
    positions = graph.op("Slice", graph.constant(table), graph.integers(0), length, graph.integers(0))
    return _normalise(graph, shape, weights, "embeddings.LayerNorm", graph.op("Add", words, positions))


def _layer(graph: _Graph, shape: BertShape, weights: dict[str, Array], name: str, hidden: str, bias: str) -> str:
    attended = _linear(graph, weights, f"{name}.attention.output.dense", _attention(graph, shape, weights, name, hidden, bias))
    hidden = _normalise(graph, shape, weights, f"{name}.attention.output.LayerNorm", graph.op("Add", attended, hidden))
    wide = _gelu(graph, _linear(graph, weights, f"{name}.intermediate.dense", hidden))
    return _normalise(
        graph, shape, weights, f"{name}.output.LayerNorm", graph.op("Add", _linear(graph, weights, f"{name}.output.dense", wide), hidden)
    )


def _attention(graph: _Graph, shape: BertShape, weights: dict[str, Array], name: str, hidden: str, bias: str) -> str:
    # Query, key and value in one product, the scale of the scores folded into the query.
    width = shape.hidden // shape.heads
    parts = [
        (weights[f"{name}.attention.self.{part}.weight"], weights[f"{name}.attention.self.{part}.bias"])
        for part in ("query", "key", "value")
    ]
    parts[0] = (parts[0][0] * np.float32(width**-0.5), parts[0][1] * np.float32(width**-0.5))
    product = graph.op("MatMul", hidden, graph.constant(np.concatenate([weight for weight, _ in parts]).T))
    product = graph.op("Add", product, graph.constant(np.concatenate([offset for _, offset in parts])))
    product = graph.op("Reshape", product, graph.integers(0, 0, 3, shape.heads, width))
    product = graph.op("Transpose", product, perm=[2, 0, 3, 1, 4])  # [3, texts, heads, tokens, width]
    query, key, value = (graph.op("Gather", product, graph.constant(np.array(part, dtype=np.int64)), axis=0) for part in range(3))
    scores = graph.op("MatMul", query, graph.op("Transpose", key, perm=[0, 1, 3, 2]))
    shares = graph.op("Softmax", graph.op("Add", scores, bias), axis=-1)
    mixed = graph.op("Transpose", graph.op("MatMul", shares, value), perm=[0, 2, 1, 3])
    return graph.op("Reshape", mixed, graph.integers(0, 0, shape.hidden))


def _linear(graph: _Graph, weights: dict[str, Array], name: str, value: str) -> str:
    product = graph.op("MatMul", value, graph.constant(weights[f"{name}.weight"].T))
    return graph.op("Add", product, graph.constant(weights[f"{name}.bias"]))


def _normalise(graph: _Graph, shape: BertShape, weights: dict[str, Array], name: str, value: str) -> str:
    scale, offset = graph.constant(weights[f"{name}.weight"]), graph.constant(weights[f"{name}.bias"])
    return graph.op("LayerNormalization", value, scale, offset, axis=-1, epsilon=shape.epsilon)


def _gelu(graph: _Graph, value: str) -> str:
    # x * (1 + erf(x / sqrt(2))) / 2: written out, as the runtime knows this pattern and fuses it.
    inner = graph.op("Erf", graph.op("Div", value, graph.constant(float(np.sqrt(2.0)))))
    doubled = graph.op("Mul", value, graph.op("Add", inner, graph.constant(1.0)))
    return graph.op("Mul", doubled, graph.constant(0.5))


def _pool(graph: _Graph, hidden: str, ones: str) -> None:
    # The L2 norm takes away the length, so the sum over the tokens gives the same direction as their mean.
    total = graph.op("ReduceSum", graph.op("Mul", hidden, graph.op("Unsqueeze", ones, graph.integers(2))), graph.integers(1), keepdims=0)
    norm = graph.op("Sqrt", graph.op("ReduceSum", graph.op("Mul", total, total), graph.integers(1), keepdims=1))
    graph.op("Div", total, graph.op("Max", norm, graph.constant(1e-12)), output=OUTPUT)
