"""What a first start has to fetch, said beforehand; and that an endpoint needs nothing but the embedding model."""

from __future__ import annotations

from pathlib import Path

import pytest

from freehold.config.settings import Settings
from freehold.core.errors import DownloadError, Incompatible, OutOfSpace
from freehold.core.machine import GIB, Gpu, Machine
from freehold.core.progress import Silent
from freehold.models import download
from freehold.stack.plan import Stack, plan
from freehold.targets.native import model
from freehold.targets.native.engines import vllm

CPU = Machine("Linux", "x86_64", 2, 16 * GIB)
GPU = Machine("Linux", "x86_64", 16, 64 * GIB, (Gpu("NVIDIA L4", 24 * GIB),))


class Told(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def planned(machine: Machine = CPU, **tree: object) -> Stack:
    return plan(Settings.model_validate(tree), machine, version="1")


@pytest.fixture(autouse=True)
def nothing_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FREEHOLD_LLAMA_SERVER", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")


async def test_a_first_start_on_a_cpu_names_engine_and_models_with_size_and_time(tmp_path: Path) -> None:
    engine, chat, embedding = await model.needs(planned(), CPU, tmp_path)
    assert "llama.cpp" in engine.what
    assert engine.seconds == 260
    assert (chat.size, chat.seconds) == (1117320768, 1117320768 / 12_500_000)
    assert embedding.size is not None


async def test_a_gpu_needs_vllm_until_it_is_installed(tmp_path: Path) -> None:
    assert "vLLM" in (await model.needs(planned(GPU), GPU, tmp_path))[0].what
    folder = tmp_path / "engines" / "vllm" / vllm.VERSION
    folder.mkdir(parents=True)
    (folder / ".complete").touch()
    assert not [need for need in await model.needs(planned(GPU), GPU, tmp_path) if "vLLM" in need.what]


async def test_an_endpoint_needs_only_the_embedding_model(tmp_path: Path) -> None:
    assert len(await model.needs(planned(model={"base_url": "http://gpu/v1"}), CPU, tmp_path)) == 1


async def test_a_file_of_ones_own_is_not_fetched(tmp_path: Path) -> None:
    (tmp_path / "mine.gguf").write_bytes(b"GGUF")
    needs = await model.needs(planned(model={"name": str(tmp_path / "mine.gguf")}), CPU, tmp_path)
    assert "mine" not in " ".join(need.what for need in needs)


async def test_without_an_embedding_model_the_stack_still_starts_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object, **__: object) -> Path:
        raise DownloadError("the hub does not answer")

    monkeypatch.setattr(download, "fetch_embedding", away)
    told = Told()
    assert await model.prepare(planned(model={"base_url": "http://gpu/v1"}), tmp_path, told) == model.Prepared()
    assert told.lines == ["documents cannot be searched yet: the hub does not answer"]


async def test_engine_and_model_are_made_ready_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def at(name: str) -> Path:
        return tmp_path / name

    monkeypatch.setitem(model.ENGINES, "llama.cpp", lambda cache, progress: at("llama-server"))
    monkeypatch.setattr(download, "fetch", lambda entry, cache, progress: at("m.gguf"))
    monkeypatch.setattr(download, "fetch_embedding", lambda name, cache, progress: at("e"))
    prepared = await model.prepare(planned(), tmp_path, Silent())
    assert prepared == model.Prepared({"llama-server": (str(tmp_path / "llama-server"),)}, {"model": tmp_path / "m.gguf"})


async def test_the_error_of_one_part_is_the_error_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object) -> Path:
        raise OutOfSpace("no room for the model")

    async def fine(*_: object) -> Path:
        return tmp_path

    monkeypatch.setitem(model.ENGINES, "llama.cpp", fine)
    monkeypatch.setattr(download, "fetch", full)
    monkeypatch.setattr(download, "fetch_embedding", fine)
    with pytest.raises(OutOfSpace, match="no room for the model"):
        await model.prepare(planned(), tmp_path, Silent())


async def test_each_server_gets_the_model_of_its_own_even_where_two_have_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def at(path: Path) -> Path:
        return path

    own = tmp_path / "SmolLM2-135M-Instruct"
    own.mkdir()
    (own / "config.json").write_text('{"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 8}')
    (own / "model.safetensors").write_bytes(b"x" * 100)
    for name in ("llama.cpp", "vllm-cpu"):
        monkeypatch.setitem(model.ENGINES, name, lambda cache, progress: at(tmp_path / "program"))
    monkeypatch.setattr(download, "fetch", lambda entry, cache, progress: at(entry.path or tmp_path / "cached.gguf"))
    monkeypatch.setattr(download, "fetch_embedding", lambda name, cache, progress: at(tmp_path))
    stack = planned(model={"engine": "vllm-cpu", "name": str(own)}, models={"small": {"name": "smollm2-135m-instruct", "replicas": 2}})
    monkeypatch.setattr(model.packages, "prepare", lambda stack, cache, progress: at({}))  # type: ignore[attr-defined]
    prepared = await model.prepare(stack, tmp_path, Silent())
    cached = tmp_path / "cached.gguf"
    assert prepared.models == {"model": own, "model-small-1": cached, "model-small-2": cached}


async def test_ollama_is_taken_from_the_path_or_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Incompatible, match="there is no ollama on this machine"):
        await model.ENGINES["ollama"](tmp_path, Silent())
    program = tmp_path / "ollama"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert await model.ENGINES["ollama"](tmp_path, Silent()) == program
