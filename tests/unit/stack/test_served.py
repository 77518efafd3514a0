"""Every model case of a stack: who serves it, where, on what, and what is refused with which words."""

from __future__ import annotations

from typing import Any

import pytest

from freehold.config.settings import Settings
from freehold.core.errors import ConfigError, FreeholdError, Incompatible, OutOfSpace
from freehold.core.machine import GIB, Gpu, Machine
from freehold.stack.plan import Stack, plan
from freehold.stack.served import Server

QUICK = "qwen3-4b-instruct-2507-fp8"
SMALL = "smollm2-135m-instruct"


def machine(*gpus: float, cpus: int = 16, memory: int = 64, system: str = "Linux") -> Machine:
    return Machine(system, "x86_64", cpus, memory * GIB, tuple(Gpu("NVIDIA L4", int(size * GIB), index) for index, size in enumerate(gpus)))


def planned(on: Machine, target: str = "native", **tree: Any) -> Stack:
    return plan(Settings.model_validate({"stack": {"target": target}, **tree}), on, version="1")


def where(stack: Stack) -> list[Server]:
    return [server for model in stack.served for server in model.servers]


@pytest.mark.parametrize(
    ("on", "tree", "servers"),
    [
        (machine(), {}, [Server("model", 8000)]),
        (machine(24), {}, [Server("model", 8000, (0,))]),
        (machine(16, 24), {}, [Server("model", 8000, (1,))]),
        (machine(24, 24), {"model": {"gpus": [1]}}, [Server("model", 8000, (1,))]),
        (machine(24, 24), {"model": {"tensor_parallel": 2}}, [Server("model", 8000, (0, 1))]),
        (machine(24, 24), {"model": {"replicas": 2}}, [Server("model-1", 8050, (0,)), Server("model-2", 8051, (1,))]),
        (
            machine(24, 24, 24, 24),
            {"model": {"replicas": 2, "tensor_parallel": 2}},
            [Server("model-1", 8050, (0, 1)), Server("model-2", 8051, (2, 3))],
        ),
        (
            machine(24),
            {"model": {"name": QUICK, "gpu_memory": 0.45}, "models": {"b": {"name": QUICK, "gpu_memory": 0.45}}},
            [Server("model", 8000, (0,)), Server("model-b", 8001, (0,))],
        ),
        (
            machine(24, 24),
            {"model": {"name": QUICK}, "models": {"b": {"name": QUICK}}},
            [Server("model", 8000, (0,)), Server("model-b", 8001, (1,))],
        ),
        (
            machine(24, 24),
            {"model": {"name": QUICK}, "models": {"b": {"name": QUICK, "gpus": [0]}}},
            [Server("model", 8000, (1,)), Server("model-b", 8001, (0,))],
        ),
        (
            machine(),
            {"model": {"cpus": "0-5"}, "models": {"small": {"name": SMALL, "cpus": "6,7"}}},
            [Server("model", 8000, (), "0-5"), Server("model-small", 8001, (), "6-7")],
        ),
        (
            machine(),
            {"model": {"name": SMALL, "cpus": "0-7", "replicas": 2, "replica_port": 9000}},
            [Server("model-1", 9000, (), "0-3"), Server("model-2", 9001, (), "4-7")],
        ),
        (machine(24), {"model": {"base_url": "http://gpu:8000/v1"}}, []),
        (machine(24), {"model": {"engine": "none"}, "models": {"b": {"name": QUICK, "port": 8000}}}, [Server("model-b", 8000, (0,))]),
        (
            machine(),
            {"model": {"name": SMALL, "port": 8001}, "models": {"a": {"name": SMALL}, "b": {"name": SMALL}}},
            [Server("model", 8001), Server("model-a", 8002), Server("model-b", 8003)],
        ),
    ],
    ids=[
        "a laptop",
        "one GPU",
        "the larger of two GPUs",
        "a GPU by its number",
        "tensor parallel",
        "replicas",
        "replicas of two GPUs each",
        "two models on one GPU",
        "two models, two GPUs",
        "what is named is taken first",
        "two pinned models on a CPU",
        "replicas share out their processors",
        "a remote host",
        "a further model alone",
        "ports that are taken are passed over",
    ],
)
def test_each_model_gets_its_servers(on: Machine, tree: dict[str, Any], servers: list[Server]) -> None:
    assert where(planned(on, **tree)) == servers


def test_of_two_models_on_one_gpu_the_second_starts_once_the_first_is_healthy() -> None:
    stack = planned(machine(24), model={"name": QUICK, "gpu_memory": 0.45}, models={"b": {"name": QUICK, "gpu_memory": 0.45}})
    first, second = stack.service("model"), stack.service("model-b")
    assert first and second
    assert (first.needs, second.needs) == ((), ("model",))
    assert "--gpu-memory-utilization" in first.args
    assert second.args[second.args.index("--gpu-memory-utilization") + 1] == "0.45"


def test_models_on_gpus_of_their_own_start_side_by_side() -> None:
    stack = planned(machine(24, 24), model={"name": QUICK}, models={"b": {"name": QUICK}})
    assert [service.needs for service in stack.services if service.name.startswith("model")] == [(), ()]


def test_replicas_are_reached_through_a_balancer_at_the_port_of_the_model() -> None:
    stack = planned(machine(24, 24), model={"replicas": 2})
    balancer, worker = stack.service("balancer"), stack.service("worker")
    assert balancer and worker
    assert (balancer.port().number, balancer.needs) == (8000, ("model-1", "model-2"))
    assert worker.env["OPENAI_BASE_URL"] == "http://${address:balancer}/v1"
    assert all(f'server "${{address:{name}}}"' in balancer.files[0].text for name in balancer.needs)


def test_agents_are_told_of_each_further_model() -> None:
    models = {"small-one": {"name": SMALL}, "cloud": {"base_url": "https://api.example/v1", "name": "big", "api_key": "hush"}}
    stack = planned(machine(), models=models)
    worker = stack.service("worker")
    assert worker
    assert {name: value for name, value in worker.env.items() if name.startswith("FREEHOLD_MODEL_") and "CONTEXT" not in name} == {
        "FREEHOLD_MODEL_SMALL_ONE_BASE_URL": "http://${address:model-small-one}/v1",
        "FREEHOLD_MODEL_SMALL_ONE_NAME": SMALL,
        "FREEHOLD_MODEL_SMALL_ONE_API_KEY": "${secret:model_key}",
        "FREEHOLD_MODEL_CLOUD_BASE_URL": "https://api.example/v1",
        "FREEHOLD_MODEL_CLOUD_NAME": "big",
        "FREEHOLD_MODEL_CLOUD_API_KEY": "${secret:endpoint_key_cloud}",
    }
    assert "endpoint_key_cloud" in {secret.name for secret in stack.secrets}
    assert "hush" not in repr(stack)


def test_a_pinned_llama_cpp_has_as_many_threads_as_processors() -> None:
    model = planned(machine(), model={"name": SMALL, "cpus": "2-4"}).service("model")
    assert model
    assert (model.args[model.args.index("--threads") + 1], model.cpus) == ("3", "2-4")


def test_a_pinned_vllm_has_a_thread_on_each_processor_and_a_bounded_cache() -> None:
    model = planned(machine(), model={"engine": "vllm-cpu", "name": "some/model", "cpus": "2-4", "kv_cache_gb": 1.5}).service("model")
    assert model
    assert model.env["VLLM_CPU_OMP_THREADS_BIND"] == "2,3,4"
    given = dict(zip(model.args, model.args[1:], strict=False))
    assert (given["--kv-cache-memory-bytes"], given["--dtype"]) == (str(int(1.5 * GIB)), "float32")


def test_ollama_fetches_its_model_by_a_task_after_its_start() -> None:
    stack = planned(machine(), model={"engine": "ollama", "name": "qwen3:4b", "context": 4096})
    server, pull = stack.service("model"), stack.service("model-pull")
    assert server and pull
    assert (server.env["OLLAMA_HOST"], server.env["OLLAMA_CONTEXT_LENGTH"]) == ("${listen}:8000", "4096")
    assert (pull.kind, pull.args, pull.needs) == ("task", ("pull", "qwen3:4b"), ("model",))


def test_sglang_gets_its_own_names_of_the_parsers() -> None:
    model = planned(machine(24), "compose", model={"engine": "sglang", "name": QUICK, "gpu_memory": 0.8}).service("model")
    assert model
    given = dict(zip(model.args, model.args[1:], strict=False))
    assert (given["--tool-call-parser"], given["--mem-fraction-static"]) == ("qwen25", "0.80")


@pytest.mark.parametrize(
    ("on", "tree", "kind", "message"),
    [
        (machine(24), {"model": {"gpus": [1]}}, ConfigError, "model.gpus: GPU 1 is not there; this machine has 1: [0]"),
        (
            machine(24),
            {"model": {"replicas": 2}},
            ConfigError,
            "model.replicas: 2 x model.tensor_parallel 1 need 2 GPUs, and this machine has 1",
        ),
        (
            machine(24),
            {"model": {"name": QUICK}, "models": {"b": {"name": QUICK, "gpu_memory": 0.45}}},
            ConfigError,
            "model.gpu_memory and models.b.gpu_memory: 0.92 + 0.45 = 1.37 of GPU 0 are asked for, and 0.95 at most",
        ),
        (
            machine(24),
            {"model": {"name": "gpt-oss-20b", "gpu_memory": 0.45}, "models": {"b": {"name": QUICK, "gpu_memory": 0.45}}},
            OutOfSpace,
            "gpt-oss-20b needs 13.9 GiB (12.8 weights + 0.1 keys and values + 1.0 working memory) for 2 x 2048 tokens, and 10.8 GiB are",
        ),
        (
            machine(24),
            {"model": {"name": QUICK, "context": 200_000}},
            OutOfSpace,
            "qwen3-4b-instruct-2507-fp8 needs 32.6 GiB",
        ),
        (machine(), {"model": {"gpus": [0]}}, ConfigError, "model.gpus: llama.cpp has no use for it"),
        (machine(24), {"model": {"engine": "llama.cpp", "kv_cache_gb": 2}}, ConfigError, "model.kv_cache_gb: llama.cpp has no use"),
        (machine(cpus=4), {"model": {"cpus": "0-7"}}, ConfigError, "model.cpus: 0-7 are 8 processors, and this machine has 4"),
        (machine(system="Darwin"), {"model": {"cpus": "0-3"}}, Incompatible, "model.cpus: macOS does not let"),
        (machine(), {"model": {"engine": "sglang"}}, Incompatible, "SGLang needs an NVIDIA GPU and none was found"),
        (machine(24), {"model": {"engine": "sglang"}}, Incompatible, "model.engine: SGLang runs in containers only"),
        (machine(), {"model": {"engine": "ollama"}}, ConfigError, "model.name: needed with Ollama"),
        (
            machine(),
            {"models": {"b": {"name": SMALL, "port": 8000}}},
            ConfigError,
            "model.port: expected another port than models.b.port",
        ),
        (machine(), {"models": {"b": {"name": SMALL, "port": 8123}}}, ConfigError, "models.b.port: expected another port than server.port"),
        (
            machine(memory=4),
            {"models": {"b": {"name": "qwen2.5-coder-1.5b-instruct"}}},
            OutOfSpace,
            "qwen2.5-coder-1.5b-instruct needs",
        ),
    ],
    ids=[
        "a GPU that is not there",
        "more replicas than GPUs",
        "more of a GPU than there is",
        "a share too small for its model",
        "a context too long",
        "a GPU for an engine on the CPU",
        "a key of another engine",
        "processors that are not there",
        "pinning on a Mac",
        "SGLang without a GPU",
        "SGLang without containers",
        "Ollama without a name",
        "a port of another model",
        "the port of the server",
        "a second model for which no memory is left",
    ],
)
def test_what_cannot_run_is_refused_with_its_key(on: Machine, tree: dict[str, Any], kind: type[FreeholdError], message: str) -> None:
    with pytest.raises(kind) as caught:
        planned(on, **tree)
    assert message in caught.value.message


def test_a_second_model_on_the_cpu_has_what_the_first_leaves() -> None:
    with pytest.raises(OutOfSpace) as caught:
        planned(machine(memory=4), models={"b": {"name": "qwen2.5-coder-1.5b-instruct"}})
    assert "models.b.parallel" in (caught.value.hint or "")
