"""The process that files are loaded in: limits that end a file, never the ingest."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from tests.support import documents

from freehold.rag.load import Unreadable
from freehold.rag.load.process import LoaderProcess


async def test_files_are_loaded_one_after_another_in_one_process() -> None:
    async with LoaderProcess() as loader:
        assert (await loader.load(b"# A\ntext", "text/markdown")).sections[0].heading == "A"
        process = loader._process
        loaded = await loader.load(documents.pdf(["Page one."]), "application/pdf")
        assert (loaded.sections[0].page, loader._process) == (1, process)
    assert process is not None and process.returncode is not None


async def test_a_reason_crosses_with_its_hint() -> None:
    async with LoaderProcess() as loader:
        with pytest.raises(Unreadable) as caught:
            await loader.load(documents.pdf([""]), "application/pdf")
    assert (caught.value.message, caught.value.hint) == (
        "holds no text on its 1 pages: probably scanned",
        "run OCR over it first, e.g. with ocrmypdf",
    )


async def test_a_file_that_takes_too_long_is_ended_and_the_next_one_is_read() -> None:
    async with LoaderProcess(max_seconds=0.001) as loader:
        with pytest.raises(Unreadable, match="took more than"):
            await loader.load(b"text", "text/plain")
        loader._max_seconds = 60
        assert (await loader.load(b"text", "text/plain")).sections[0].text == "text"


async def test_a_reader_that_dies_costs_only_its_file() -> None:
    async with LoaderProcess() as loader:
        await loader.load(b"text", "text/plain")
        assert loader._process is not None
        loader._process.kill()
        with pytest.raises(Unreadable, match="its reader died"):
            await loader.load(b"text", "text/plain")
        assert (await loader.load(b"text", "text/plain")).sections[0].text == "text"


async def test_cancelling_leaves_no_process_behind() -> None:
    async with LoaderProcess() as loader:
        await loader.load(b"text", "text/plain")
        assert loader._process is not None
        pid = loader._process.pid
        task = asyncio.create_task(loader.load(documents.pdf(["x"] * 300), "application/pdf"))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not psutil.pid_exists(pid)


async def test_the_reader_gets_no_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:secret@host/db")
    async with LoaderProcess() as loader:
        await loader.load(b"text", "text/plain")
        assert loader._process is not None
        environment = psutil.Process(loader._process.pid).environ()
    assert "secret" not in str(environment) and environment.keys() <= {
        "PYTHONPATH",
        "PYTHONIOENCODING",
        "PYTHONDONTWRITEBYTECODE",
        "LC_CTYPE",
    }


def test_the_reader_may_write_no_file(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from freehold.rag.load import process; process._limit_resources(); pathlib.Path(sys.argv[1]).write_text('x')"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "file")], capture_output=True, text=True)
    assert done.returncode != 0 and "File too large" in done.stderr
    assert (tmp_path / "file").read_bytes() == b""


def test_modules_in_the_folder_it_is_called_from_are_not_imported(tmp_path: Path) -> None:
    for name in ("json", "logging", "resource"):
        (tmp_path / f"{name}.py").write_text("import pathlib; pathlib.Path(__file__).with_suffix('.ran').touch(); raise SystemExit(9)\n")
    script = (
        "import os, sys, asyncio, logging; from freehold.rag.load.process import LoaderProcess\n"
        "async def main():\n    async with LoaderProcess() as loader: print(await loader.load(b'text', 'text/plain'))\n"
        "os.chdir(sys.argv[1]); sys.path.insert(0, sys.argv[1]); asyncio.run(main())"  # as `python -m freehold` there has it
    )
    done = subprocess.run([sys.executable, "-P", "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert "Section(text='text'" in done.stdout, done.stderr
    assert not list(tmp_path.glob("*.ran"))
