"""`freehold worker`: one worker in the foreground, as `up`, Compose or systemd start it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from freehold.config import env
from freehold.config.load import load


def worker(
    config: Annotated[Path | None, typer.Option(help="A freehold.toml; default: the one in this folder, where there is one.")] = None,
) -> None:
    """Run one worker in the foreground; needs DATABASE_URL and REDIS_URL."""
    env.set_process_defaults()
    from freehold import bootstrap

    bootstrap.work(load(config))
