from pathlib import Path

from freehold.models import catalogue, engines

QWEN = catalogue.find("qwen2.5-coder-1.5b-instruct")


def pairs(arguments: tuple[str, ...]) -> dict[str, str | None]:
    """`("--port", "1", "--jinja")` → `{"--port": "1", "--jinja": None}`"""
    following = [*arguments[1:], "--"]
    return {
        name: None if value.startswith("--") else value for name, value in zip(arguments, following, strict=True) if name.startswith("--")
    }


def test_llama_cpp_gets_the_context_of_all_conversations_together() -> None:
    given = pairs(engines.llama_cpp_arguments(QWEN, Path("/m/x.gguf"), host="127.0.0.1", port=8000, context=8192, parallel=2, threads=4))
    assert given["--model"] == "/m/x.gguf"
    assert given["--alias"] == "qwen2.5-coder-1.5b-instruct"
    assert (given["--host"], given["--port"]) == ("127.0.0.1", "8000")
    assert (given["--ctx-size"], given["--parallel"], given["--threads"]) == ("16384", "2", "4")


def test_llama_cpp_parses_tools_counts_and_stays_private() -> None:
    given = pairs(engines.llama_cpp_arguments(QWEN, Path("x"), host="127.0.0.1", port=8000, context=4096, parallel=1))
    assert {"--jinja", "--metrics", "--no-webui", "--no-slots", "--offline", "--cache-prompt"} <= given.keys()
    assert given["--cache-ram"] == "512"
    assert "--threads" not in given


def test_vllm_gets_the_models_parsers_and_bounds() -> None:
    model = catalogue.find("qwen3.6-27b-fp8")
    arguments = engines.vllm_arguments(model, Path("/m"), host="127.0.0.1", port=8000, context=32768, parallel=16)
    given = pairs(arguments)
    assert arguments[:2] == ("serve", "/m")
    assert given["--served-model-name"] == model.id
    assert (given["--tool-call-parser"], given["--reasoning-parser"]) == ("qwen3_coder", "qwen3")
    assert "--enable-auto-tool-choice" in given
    assert (given["--max-model-len"], given["--max-num-seqs"]) == ("32768", "16")
    assert int(given["--shutdown-timeout"] or 0) > 0
    assert int(given["--max-num-queued-reqs"] or 0) > 0
    assert "--gpu-memory-utilization" not in given


def test_vllm_without_a_known_parser_is_not_told_to_parse() -> None:
    plain = engines.vllm_arguments(QWEN, "some/repo", host="h", port=1, context=1, parallel=1, tuning=engines.Tuning(gpu_memory=0.5))
    assert "--tool-call-parser" not in plain
    assert pairs(plain)["--gpu-memory-utilization"] == "0.50"


def test_keys_are_never_arguments() -> None:
    for arguments in (
        engines.llama_cpp_arguments(QWEN, Path("x"), host="h", port=1, context=1, parallel=1),
        engines.vllm_arguments(QWEN, "x", host="h", port=1, context=1, parallel=1),
    ):
        assert not any("api-key" in argument for argument in arguments)


def test_vllm_reports_nothing_home() -> None:
    assert engines.VLLM_ENVIRONMENT["VLLM_NO_USAGE_STATS"] == "1"
    assert engines.VLLM_ENVIRONMENT["DO_NOT_TRACK"] == "1"
