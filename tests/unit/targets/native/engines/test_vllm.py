from pathlib import Path

import pytest
from tests.unit.models.file_server import Watched, serving

from freehold.core.errors import Incompatible
from freehold.core.machine import GIB, Gpu, Machine
from freehold.targets.native.engines import vllm


@pytest.mark.parametrize(
    "machine",
    [Machine("Linux", "x86_64", 8, 64 * GIB), Machine("Darwin", "arm64", 8, 64 * GIB, (Gpu("M", 32 * GIB),))],
    ids=["no GPU", "not Linux"],
)
async def test_vllm_is_installed_only_where_it_can_run(tmp_path: Path, machine: Machine) -> None:
    with pytest.raises(Incompatible, match="vLLM needs Linux and an NVIDIA GPU") as caught:
        await vllm.ensure(tmp_path, Watched(), machine)
    assert "llama.cpp" in (caught.value.hint or "")
    assert list(tmp_path.iterdir()) == []


async def test_an_installed_vllm_is_used_at_once(tmp_path: Path) -> None:
    home = tmp_path / "engines" / "vllm" / vllm.VERSION
    home.mkdir(parents=True)
    (home / ".complete").touch()
    machine = Machine("Linux", "x86_64", 8, 64 * GIB, (Gpu("L4", 24 * GIB),))
    assert await vllm.ensure(tmp_path, Watched(), machine) == home / "bin" / "vllm"


async def test_the_size_of_what_would_be_downloaded_comes_from_the_index() -> None:
    async with serving({"/a.whl": b"x" * 1000, "/b.whl": b"x" * 234}) as server:
        size = await vllm.download_size([f"{server.url}/a.whl", f"{server.url}/b.whl", f"{server.url}/missing.whl", "file:///local.whl"])
    assert size == 1234


async def test_without_a_compiler_vllm_for_cpus_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Incompatible, match=r"no C\+\+ compiler") as caught:
        await vllm.ensure_cpu(tmp_path, Watched(), Machine("Linux", "x86_64", 8, 64 * GIB))
    assert "g++" in (caught.value.hint or "")


async def test_an_installed_vllm_for_cpus_is_used_at_once(tmp_path: Path) -> None:
    home = tmp_path / "engines" / "vllm-cpu" / vllm.CPU_VERSION
    home.mkdir(parents=True)
    (home / ".complete").touch()
    assert vllm.is_installed(tmp_path, cpu=True) and not vllm.is_installed(tmp_path, cpu=False)
    assert await vllm.ensure_cpu(tmp_path, Watched(), Machine("Linux", "x86_64", 8, 64 * GIB)) == home / "bin" / "vllm"
