"""Writes what an own Grafana and an own Prometheus need to show a stack: pages, and the rules whose names they ask for."""

from __future__ import annotations

from pathlib import Path

from freehold.config.settings import Settings
from freehold.stack.deployment import described
from freehold.stack.monitoring import dashboards, recording
from freehold.stack.served import serve
from freehold.targets.native import machine


def write_dashboards(folder: Path, settings: Settings) -> tuple[Path, ...]:
    """Write one file for each page, and recording.yml; files of these names are replaced, others left alone.

    Raises:
        ConfigError: the settings name a model that cannot run on this machine.
    """
    models = serve(settings, described(settings, machine.detect()))
    slots = {model.engine.model: model.wanted.parallel * len(model.servers) for model in models if model.engine.name == "llama.cpp"}
    texts = {**dashboards.texts(), "recording.yml": recording.rules_file(slots)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return tuple(folder / name for name in texts)
