"""A BERT of two layers with seeded weights: small enough to compute by hand, complete enough to be refused for its size."""

from __future__ import annotations

import numpy as np

from freehold.rag.bert import BertShape

SHAPE = BertShape(layers=2, hidden=24, heads=3, epsilon=1e-12, positions=32)
WORDS, WIDE = 50, 48
CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "num_hidden_layers": 2,
    "hidden_size": 24,
    "num_attention_heads": 3,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 32,
}


def weights() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    tensors: dict[str, np.ndarray] = {}

    def add(name: str, *shape: int, around: float = 0.0) -> None:
        tensors[name] = (around + 0.3 * random.standard_normal(shape)).astype(np.float32)

    def add_linear(name: str, rows: int, columns: int) -> None:
        add(f"{name}.weight", rows, columns)
        add(f"{name}.bias", rows)

    def add_norm(name: str) -> None:
        add(f"{name}.weight", SHAPE.hidden, around=1.0)
        add(f"{name}.bias", SHAPE.hidden)

    for name, rows in (("word", WORDS), ("position", SHAPE.positions), ("token_type", 2)):
        add(f"embeddings.{name}_embeddings.weight", rows, SHAPE.hidden)
    add_norm("embeddings.LayerNorm")
    for layer in range(SHAPE.layers):
        prefix = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            add_linear(f"{prefix}.attention.self.{part}", SHAPE.hidden, SHAPE.hidden)
        add_linear(f"{prefix}.attention.output.dense", SHAPE.hidden, SHAPE.hidden)
        add_linear(f"{prefix}.intermediate.dense", WIDE, SHAPE.hidden)
        add_linear(f"{prefix}.output.dense", SHAPE.hidden, WIDE)
        add_norm(f"{prefix}.attention.output.LayerNorm")
        add_norm(f"{prefix}.output.LayerNorm")
    return tensors
