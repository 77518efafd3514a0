"""`freehold serve`: the agent server in the foreground, as `up`, Compose or systemd start it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from freehold.config import env
from freehold.config.load import load


def serve(
    config: Annotated[Path | None, typer.Option(help="A freehold.toml; default: the one in this folder, where there is one.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; anything but loopback demands API keys.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (8123).")] = None,
) -> None:
    """Run the agent server in the foreground; needs DATABASE_URL and REDIS_URL."""
    env.set_process_defaults()
    from freehold import bootstrap

    bootstrap.serve(load(config, overrides={"server.host": host, "server.port": port}))
