"""`make bench`: the benchmarks there are, or `python -m benchmarks NAME`. None of them is part of the tests."""

from __future__ import annotations

import runpy
import sys

#: Name -> module and what it measures.
BENCHMARKS = {
    "engine": ("benchmarks.engine.__main__", "runs through the server, against peers and against the same graph in process (ten minutes)"),
    "checkpointer": (
        "benchmarks.engine.checkpointer",
        "our checkpoint saver against the stock one: operations, bytes, turn latency (5 minutes)",
    ),
    "engine-profile": ("benchmarks.engine.profile", "statements per run, and flame graphs of server and worker (needs py-spy)"),
    "streams": (
        "benchmarks.engine.streams",
        "1000 open event streams at 1 event/s and 200 at 10/s against one server process: delay, losses, CPU and memory",
    ),
    "threads": ("benchmarks.threads.search", "thread searches over 100,000 threads of one owner, every filter and order (3 minutes)"),
    "toolcalls": (
        "benchmarks.toolcalls.run",
        "tool calls of the default CPU model, with and without the layer for small models (about 40 minutes)",
    ),
}


def main() -> int:
    """Run the named benchmark, or a quick look at the engine, and say what else there is."""
    sys.argv = sys.argv if len(sys.argv) > 1 else [sys.argv[0], "engine", "--quick"]
    name = sys.argv[1]
    if name not in BENCHMARKS:
        print(f"no benchmark {name!r}; there are: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    for other, (_, about) in BENCHMARKS.items():
        print(f"{'->' if other == name else '  '} {other}: {about}", file=sys.stderr)
    sys.argv = sys.argv[1:]
    runpy.run_module(BENCHMARKS[name][0], run_name="__main__")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
