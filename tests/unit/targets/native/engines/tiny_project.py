"""A source archive that builds a `llama-server` in seconds, as llama.cpp's does in minutes."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

from freehold.models import catalogue
from freehold.models.catalogue import File
from freehold.models.engines import llama_cpp_arguments
from freehold.targets.native.engines.index import Archive

#: Every option we start llama-server with.
FLAGS = " ".join(
    argument
    for argument in llama_cpp_arguments(catalogue.models()[0], Path("m"), host="h", port=1, context=1, parallel=1, threads=1)
    if argument.startswith("--")
)

_CMAKE = """
cmake_minimum_required(VERSION 3.14)
project(tiny CXX)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${{CMAKE_BINARY_DIR}}/bin)
add_library(first STATIC first.cpp)
add_custom_command(OUTPUT gate.cpp COMMAND sh "{gate}" COMMAND ${{CMAKE_COMMAND}} -E touch gate.cpp DEPENDS first)
add_executable(llama-server main.cpp gate.cpp)
target_link_libraries(llama-server first)
"""
_MAIN = """
#include <cstdio>
const char *version();
int main() { std::puts(version()); return 0; }
"""


def write(folder: Path, *, gate: Path, main: str = _MAIN) -> Archive:
    """Make the archive in `folder`; its build runs the shell script `gate` between its first and its last file."""
    contents = {
        "setup.py": "raise SystemExit('the package was executed')",
        "inner/CMakeLists.txt": _CMAKE.format(gate=gate),
        "inner/first.cpp": 'const char *version() { return "version: tiny"; }\n',
        "inner/main.cpp": main,
    }
    path = folder / "tiny_source-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as packed:
        for name, text in contents.items():
            info = tarfile.TarInfo(f"tiny_source-1.0/{name}")
            info.size = len(text.encode())
            packed.addfile(info, io.BytesIO(text.encode()))
    content = path.read_bytes()
    return Archive("tiny-source", File(path.name, len(content), hashlib.sha256(content).hexdigest()))


def script(path: Path, *, flags: str = FLAGS, status: int = 0) -> Path:
    """A `llama-server` that is a shell script: answers --version and --help."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\nif [ "$1" = --help ]; then echo "{flags}"; else echo "version: script"; fi\nexit {status}\n')
    path.chmod(0o755)
    return path
