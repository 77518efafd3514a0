"""Figures that commands leave behind for Prometheus, which the exporter of the machine picks up: when the last backup was made, until
when the certificate is good. A command that ends has no page of metrics of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from freehold.config import env, paths


def leave(name: str, figures: Mapping[str, float]) -> None:
    """Write `<name>.prom` in the place of the one before; nothing where nobody measures.

    Args:
        figures: metrics by name, e.g. `{"freehold_backup_timestamp_seconds": 1763766000.0}`.
    """
    given = env.get("FREEHOLD_MEASURES")
    folder = Path(given) if given else paths.home() / "data" / "measures"
    if not folder.is_dir():
        return
    partial = folder / f"{name}.prom.{os.getpid()}"  # the exporter reads what ends in .prom
    partial.write_text("".join(f"# TYPE {metric} gauge\n{metric} {value:.0f}\n" for metric, value in figures.items()), encoding="utf-8")
    partial.replace(folder / f"{name}.prom")
