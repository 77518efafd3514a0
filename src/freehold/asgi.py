"""`app` for any ASGI server: `uvicorn freehold.asgi:app`. Configuration comes from freehold.toml and the environment."""

from __future__ import annotations

from freehold.config import env

env.set_process_defaults()

from freehold import bootstrap  # noqa: E402 - after the process defaults, which libraries read when they are imported
from freehold.config.load import load  # noqa: E402
from freehold.server.app import create_app  # noqa: E402

_settings = load().settings

app = create_app(_settings, lambda: bootstrap.open_server(_settings))
