"""Servers and workers as processes, with a scripted model and an OTLP receiver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.otlp import Receiver, receiving
from tests.support.processes import Processes

from freehold.lab.scripted_model import ScriptedModel

PROJECT = Path(__file__).parent / "langgraph.json"

Start = Callable[..., Processes]


@pytest.fixture
def start(tmp_path: Path, database_url: str, valkey_url: str, scripted_model: ScriptedModel) -> Iterator[Start]:
    """Makes the processes of a stack; `telemetry` is what its section of freehold.toml says."""
    with ExitStack() as stack:

        def make(*, telemetry: str = "", **environ: str) -> Processes:
            config = f'[agents]\nconfig = "{PROJECT}"\n[worker]\nlease_seconds = 2\n[telemetry]\nlog_format = "json"\n{telemetry}\n'
            given = {"OPENAI_BASE_URL": scripted_model.base_url, "OPENAI_API_KEY": "none", "FREEHOLD_MODEL": "scripted", **environ}
            return stack.enter_context(Processes(tmp_path, database_url, valkey_url, config=config, environ=given))

        yield make


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Where traces are sent."""
    with receiving() as receiver:
        yield receiver
