"""Turns texts into vectors on the CPU: no GPU and no torch are needed for retrieval.

The model runs on ONNX Runtime with int8 weights per output channel, about twice as fast as float32 at a cosine of 0.99 to
its vectors. The int8 file is made once from the published weights and kept beside them.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from numpy.typing import NDArray
from tokenizers import Tokenizer

from freehold.core.errors import ConfigError, Incompatible
from freehold.core.progress import Progress, Silent

#: Raise when the int8 file made from the same weights would differ.
FORMAT_VERSION = 1

#: The index stores vectors of this size only.
DIMENSIONS = 384

_MAX_TOKENS = 256  # what the model was trained on; the rest of a longer text is not seen
_BATCH_TEXTS = 16
_BATCH_TOKENS = 2048  # padding included: keeps the memory of a batch within tens of megabytes
_PADDING_ALLOWED = 16  # tokens a short text is padded by even where that is more than twice its length
_MAX_THREADS = 4

Vectors = NDArray[np.float32]

#: How a process gets its embedder, called once, on first use.
EmbedderLoader = Callable[[], Awaitable["Embedder"]]


def embedder_loader(name: str, cache_dir: Path, progress: Progress | None = None) -> EmbedderLoader:
    """A loader for the embedding model `name`: fetches it into `cache_dir` where it is missing."""

    async def load() -> Embedder:
        from freehold.models.download import fetch_embedding  # here: most processes never fetch a model

        return await asyncio.to_thread(Embedder, await fetch_embedding(name, cache_dir, progress or Silent()), name=name)

    return load


class Embedder:
    """A sentence encoder. Constructing it reads files and, the first time, writes the int8 model (seconds): do it in a thread."""

    def __init__(self, folder: Path, *, name: str | None = None) -> None:
        """Load the model in `folder` (`config.json`, `tokenizer.json`, `model.safetensors`).

        Raises:
            Incompatible: a file is missing, damaged, or of a kind of model that is not supported.
            ConfigError: the model's vectors do not have 384 dimensions.
        """
        self.name = name or folder.name
        #: Stored with every vector: vectors of different models or formats do not compare.
        self.model = f"{self.name}/int8-{FORMAT_VERSION}"
        self._session = _session(_ensure_int8(folder))
        dimensions = self._session.get_outputs()[0].shape[1]
        if dimensions != DIMENSIONS:
            raise ConfigError(
                f"knowledge.embedding_model: {self.name} makes vectors of {dimensions} dimensions, the index stores {DIMENSIONS}",
                hint='use a model with 384 dimensions, such as "all-minilm-l6-v2"',
            )
        self._tokenizer = _tokenizer(folder)
        # One thread: the session spreads a batch over the cores itself, two batches at once would only compete.
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embed")

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of texts in the same order: float32, [n, 384], L2-normalised. Does not block the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._embed, list(texts))

    async def embed_query(self, text: str) -> Vectors:
        """The vector of one question: float32, [384], L2-normalised."""
        vectors: Vectors = (await self.embed([text]))[0]
        return vectors

    def close(self) -> None:
        """End the worker thread after the batch it is in."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _embed(self, texts: list[str]) -> Vectors:
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]
        vectors = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        for batch in _batches([len(ids) for ids in tokens]):
            vectors[batch] = self._run([tokens[index] for index in batch])
        return vectors

    def _run(self, batch: list[list[int]]) -> Vectors:
        longest = max(len(ids) for ids in batch)
        input_ids = np.zeros((len(batch), longest), dtype=np.int64)
        mask = np.zeros_like(input_ids)
        for row, ids in enumerate(batch):
            input_ids[row, : len(ids)] = ids
            mask[row, : len(ids)] = 1
        vectors: Vectors = self._session.run(None, {"input_ids": input_ids, "attention_mask": mask})[0]
        return vectors


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    # Texts of like length together: padding is computed too, so a long text in a batch of short ones costs most of it.
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        last = batches[-1] if batches else []
        is_full = len(last) == _BATCH_TEXTS or (len(last) + 1) * lengths[index] > _BATCH_TOKENS
        if not last or is_full or lengths[index] > 2 * lengths[last[0]] + _PADDING_ALLOWED:
            batches.append([index])
        else:
            last.append(index)
    return batches


def _tokenizer(folder: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the library raises bare Exception for a missing or damaged file
        raise Incompatible(f"{folder / 'tokenizer.json'} cannot be read: {error}") from error
    tokenizer.no_padding()  # the file asks for 128 tokens of padding; batches pad to their own longest text
    tokenizer.enable_truncation(_MAX_TOKENS)
    return tokenizer


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = min(_MAX_THREADS, _cores())
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that wait by spinning would take the cores away from the model server.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _ensure_int8(folder: Path) -> Path:
    """The int8 model of these weights, made where it is missing; its name carries what it was made from."""
    try:
        weights = (folder / "model.safetensors").stat()
        config = (folder / "config.json").read_bytes()
    except OSError as error:
        raise Incompatible(
            f"the embedding model in {folder} is not complete: {error}", hint="remove the folder; it is fetched again"
        ) from error
    stamp = hashlib.sha256(config + f"{weights.st_size} {weights.st_mtime_ns}".encode()).hexdigest()[:12]
    path = folder / f"model-int8-{FORMAT_VERSION}-{stamp}.onnx"
    if not path.exists():
        try:
            _write_int8(folder, path)
        except PermissionError as error:
            raise Incompatible(
                f"the int8 form of the embedding model cannot be written into {folder}",
                hint="let this user write there, or set FREEHOLD_CACHE to a folder where it may",
            ) from error
    return path


def _write_int8(folder: Path, path: Path) -> None:
    # Only the first start of a model comes here; onnx and the quantiser take a second to import.
    import onnx
    from onnxruntime.quantization import quantize_dynamic  # type: ignore[import-untyped]

    from freehold.rag.bert import BertShape, read_weights, sentence_encoder

    model = onnx.shape_inference.infer_shapes(sentence_encoder(BertShape.read(folder), read_weights(folder)))
    # Says that shapes are inferred; without it the quantiser logs advice to do so.
    onnx.helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
    with tempfile.TemporaryDirectory(dir=folder, prefix=".int8-") as scratch:
        made = Path(scratch) / "model.onnx"
        # reduce_range (7 bits) costs 0.002 of cosine and keeps processors without VNNI from overflowing 16-bit sums.
        quantize_dynamic(model, made, per_channel=True, reduce_range=True)
        made.replace(path)  # complete or not there, also with two processes at it
    for stale in folder.glob("model-int8-*.onnx"):
        if stale != path:
            stale.unlink(missing_ok=True)
