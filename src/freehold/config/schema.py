"""The JSON Schema of freehold.toml, for editors: docs/reference/freehold.schema.json, and `freehold config schema`."""

from __future__ import annotations

from typing import Any

from freehold.config.settings import Settings


def schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the whole file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "freehold.toml",
        **{key: value for key, value in Settings.model_json_schema().items() if key != "title"},
    }
