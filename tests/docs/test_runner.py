"""The runner finds, runs and refuses; a runner that runs nothing would let every page pass."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support.pages import Block, blocks, commands, run

PAGE = """
Text with `make lint` in it, and `freehold up --detach`.

```sh
echo one > file
```

<!-- test: needs-stack -->
```sh
freehold ask "hello"
curl http://127.0.0.1:8123/ok
```

<!-- no-test: clones over the network -->
```sh
git clone https://example.org/x && make up
```

```toml
[server]
port = 1
```

```json
{"not": "run"}
```
"""


def test_blocks_are_found_in_order_with_their_markers() -> None:
    first, second, third, fourth = blocks(PAGE)
    assert first == Block(4, "sh", "echo one > file\n")
    assert second.needs_stack and second.text.startswith("freehold ask")
    assert third.skipped_because == "clones over the network"
    assert fourth.language == "toml"


@pytest.mark.parametrize("marker", ["no-test:", "no-test: ", "test: needs-stak", "skip"])
def test_a_marker_that_means_nothing_is_an_error(marker: str) -> None:
    with pytest.raises(ValueError, match="line 2: expected"):
        blocks(f"<!-- {marker} -->\n```sh\ntrue\n```\n")


def test_a_comment_elsewhere_is_no_marker() -> None:
    assert len(blocks("<!-- written by hand -->\n\n```sh\ntrue\n```\n")) == 1


def test_a_block_runs_in_its_folder_with_the_command_line_on_its_path(tmp_path: Path) -> None:
    block = Block(1, "sh", "touch here\nfreehold version\n")
    assert run(block, tmp_path, port=1, environ=dict(os.environ)) is None
    assert (tmp_path / "here").exists()


@pytest.mark.parametrize(
    ("language", "text", "shown"),
    [
        ("sh", "echo before\nfalse\ntouch after\n", "before"),
        ("sh", "false | true\n", "exit 1"),
        ("sh", "echo $UNSET_VARIABLE\n", "unbound variable"),
        ("python", "raise SystemExit('broken')\n", "broken"),
    ],
)
def test_a_failing_block_says_what_it_printed(tmp_path: Path, language: str, text: str, shown: str) -> None:
    assert shown in (run(Block(1, language, text), tmp_path, port=1, environ=dict(os.environ)) or "")
    assert not (tmp_path / "after").exists()


def test_the_documented_port_becomes_the_stacks(tmp_path: Path) -> None:
    assert (
        run(
            Block(1, "sh", 'test "http://127.0.0.1:8123" = "http://127.0.0.1:$PORT"\n'),
            tmp_path,
            port=77,
            environ={**os.environ, "PORT": "77"},
        )
        is None
    )


def test_commands_are_found_in_blocks_and_in_running_text() -> None:
    assert commands(PAGE, "make") == {"lint", "up"}
    assert commands(PAGE, "freehold") == {"up", "ask"}
    assert commands("make sense of `code`; the word freehold up here is prose", "freehold") == set()
