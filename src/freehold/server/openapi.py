"""The OpenAPI document: what FastAPI found, with what a project says about its own credentials."""

from __future__ import annotations

from typing import Any

from freehold.graphs.project_config import SecurityConfig

#: How keys of ours are sent.
_KEYS: dict[str, Any] = {
    "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "bearer": {"type": "http", "scheme": "bearer"},
}


def described(document: dict[str, Any], security: SecurityConfig | None) -> dict[str, Any]:
    """The document with security schemes: the project's (`auth.openapi` of langgraph.json), else ours."""
    components = {**document.get("components", {}), "securitySchemes": dict(security.securitySchemes) if security else _KEYS}
    whole = {**document, "components": components}
    if security is None:
        return {**whole, "security": [{name: []} for name in _KEYS]}
    if security.security:
        whole["security"] = [dict(item) for item in security.security]
    paths = {path: dict(operations) for path, operations in document.get("paths", {}).items()}
    for path, operations in security.paths.items():
        for method, asked in operations.items():
            if method.lower() in paths.get(path, {}):
                paths[path][method.lower()] = {**paths[path][method.lower()], "security": [dict(item) for item in asked]}
    return {**whole, "paths": paths}
