import pytest

from freehold.core.errors import OutOfSpace
from freehold.core.machine import GIB
from freehold.models import catalogue, memory

QWEN = catalogue.find("qwen2.5-coder-1.5b-instruct")


def test_keys_and_values_grow_with_context_and_conversations() -> None:
    estimate = memory.estimate(QWEN, engine="llama.cpp", context=8192, parallel=2)
    assert estimate.keys_and_values == 28672 * 8192 * 2
    assert estimate.weights == 1117320768
    assert estimate.total == estimate.weights + estimate.keys_and_values + estimate.working + estimate.prompt_cache


def test_keys_and_values_per_token_follow_from_layers_and_heads() -> None:
    # 28 layers, 2 key-value heads of 128, keys and values of 2 bytes each; 30 layers, 3 heads of 64
    assert QWEN.kv_bytes_per_token == 28 * 2 * 128 * 2 * 2
    assert catalogue.find("smollm2-135m-instruct").kv_bytes_per_token == 30 * 3 * 64 * 2 * 2


def test_a_local_file_is_counted_by_its_size() -> None:
    local = catalogue.find("/somewhere/model.gguf")
    assert memory.estimate(local, engine="llama.cpp", context=4096, parallel=1, weights_bytes=GIB).weights == GIB


@pytest.mark.parametrize(
    ("gib", "parallel", "wanted", "context"),
    [
        (22.5, 2, None, 8192),  # as many as the default allows
        (2.5, 2, None, 5120),  # what is left after weights and working memory
        (22.5, 2, 16384, 16384),  # the user's word
        (22.5, 2, 999999, 32768),  # but no more than the model was trained for
    ],
)
def test_context_is_what_memory_allows(gib: float, parallel: int, wanted: int | None, context: int) -> None:
    found = memory.fit_context(QWEN, engine="llama.cpp", available_bytes=int(gib * GIB), parallel=parallel, wanted=wanted)
    assert found == context


def test_the_context_that_was_fitted_does_fit() -> None:
    for gib in (2.4, 2.6, 3, 4):
        context = memory.fit_context(QWEN, engine="llama.cpp", available_bytes=int(gib * GIB), parallel=2)
        assert memory.estimate(QWEN, engine="llama.cpp", context=context, parallel=2).total <= gib * GIB


def test_a_model_of_which_little_is_known_gets_the_default_context() -> None:
    assert memory.fit_context(catalogue.find("x.gguf"), engine="llama.cpp", available_bytes=GIB, parallel=2) == memory.DEFAULT_CONTEXT


def test_too_little_memory_is_an_error_that_names_the_terms() -> None:
    with pytest.raises(OutOfSpace) as caught:
        memory.fit_context(QWEN, engine="llama.cpp", available_bytes=GIB, parallel=2)
    assert "1.0 weights" in caught.value.message
    assert "1.0 GiB are available" in caught.value.message
    assert "model.parallel" in (caught.value.hint or "")
