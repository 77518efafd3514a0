"""Rows of the pages that only show something with the gateway, or with vLLM: both really run, vLLM on the CPU with a tiny model."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.integration.instruments.aside import measuring, running, to, wait_for
from tests.integration.instruments.busy import Busy, busy, free_ports, queries
from tests.support.prometheus import Prometheus

from freehold.config import paths
from freehold.core.progress import Silent
from freehold.targets.native.engines import vllm as engine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

SECONDS = 300

#: A Llama of two layers with random weights, and a tokenizer that knows letters: all that metrics need.
_MAKE = """
import string, sys
from tokenizers import Tokenizer, models, pre_tokenizers, decoders
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
letters = [*string.printable, "<s>", "</s>", "<unk>"]
tokenizer = Tokenizer(models.WordLevel({letter: index for index, letter in enumerate(letters)}, unk_token="<unk>"))
tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
tokenizer.decoder = decoders.Fuse()
fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
fast.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
fast.save_pretrained(sys.argv[1])
config = LlamaConfig(vocab_size=len(letters), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=2, head_dim=32, max_position_embeddings=512, bos_token_id=100, eos_token_id=101)
LlamaForCausalLM(config).save_pretrained(sys.argv[1])
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Busy]:
    (port,) = free_ports(1)
    folder = tmp_path_factory.mktemp("gateway")
    with busy(folder, services=("monitoring", "gateway"), more=f"[gateway]\nport = {port}\nagents = true\n") as stack:
        yield stack


def test_every_query_about_the_gateway_has_series(gateway: Busy) -> None:
    assert gateway.prometheus.without_series(queries("gateway"), seconds=SECONDS) == []
    assert gateway.prometheus.targets()["gateway"] == "up"


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("vllm")
    (port,) = free_ports(1)
    program = asyncio.run(engine.ensure_cpu(paths.cache(), Silent()))
    model = tiny_model(program.parent / "python", folder / "model")
    environ = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_CI_ENV": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    told = ("--host", "127.0.0.1", "--port", str(port), "--served-model-name", "tiny", "--dtype", "float32", "--max-model-len", "256")
    stopping = threading.Event()
    asking = threading.Thread(target=ask_for_ever, args=(f"http://127.0.0.1:{port}", stopping))
    command = ("env", *(f"{name}={value}" for name, value in environ.items()), str(program), "serve", str(model), *told, "--enforce-eager")
    with running(*command):
        wait_for(f"http://127.0.0.1:{port}/health", seconds=900)
        asking.start()
        try:
            with measuring(folder, f"{{job_name: model, {to(port)}}}") as prometheus:
                yield prometheus
        finally:
            stopping.set()
            asking.join()


def tiny_model(python: Path, folder: Path) -> Path:
    done = subprocess.run([str(python), "-c", _MAKE, str(folder)], capture_output=True, text=True, env=dict(os.environ), check=False)
    assert done.returncode == 0, done.stderr
    return folder


def ask_for_ever(url: str, stopping: threading.Event) -> None:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "How do you do? " * 5}], "max_tokens": 24}
    while not stopping.is_set():
        httpx.post(f"{url}/v1/chat/completions", json=body, timeout=120).raise_for_status()


def test_every_query_about_vllm_has_series(vllm: Prometheus) -> None:
    assert vllm.without_series(queries("vllm"), seconds=SECONDS) == []


def test_vllm_measures_everything_about_its_models_itself(vllm: Prometheus) -> None:
    recorded = (
        "freehold:model_requests_running",
        "freehold:model_requests_waiting",
        "freehold:model_kv_cache_usage",
        "freehold:model_tokens_generated:rate1m",
        "freehold:model_tokens_input:rate1m",
        "freehold:model_ttft_seconds:p95",
        "freehold:model_e2e_seconds:p95",
    )
    asked = [f'{name}{{model="tiny",source="engine"}}' for name in recorded]
    assert vllm.without_series(asked, seconds=SECONDS) == []
