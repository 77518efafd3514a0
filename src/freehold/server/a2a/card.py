"""An agent's card: who it is, where it is spoken to and how, for programs that look for agents."""

from __future__ import annotations

from typing import Any

from freehold import __version__
from freehold.core.assistant import Assistant

_KINDS = ["text/plain", "application/json"]


def card(assistant: Assistant, url: str, *, needs_key: bool) -> dict[str, Any]:
    """Of an assistant that is spoken to at `url`, for clients of version 1.0 and of 0.3, which read other keys of it."""
    name = assistant.name or assistant.graph_id
    described = assistant.description or f"The agent {name}."
    shown: dict[str, Any] = {
        "name": name,
        "description": described,
        "version": f"{__version__}+{assistant.version}",
        "supportedInterfaces": [{"url": url, "protocolBinding": "JSONRPC", "protocolVersion": version} for version in ("1.0", "0.3")],
        "url": url,
        "preferredTransport": "JSONRPC",
        "protocolVersion": "0.3.0",
        "capabilities": {"streaming": True, "pushNotifications": False, "stateTransitionHistory": False, "extendedAgentCard": True},
        "supportsAuthenticatedExtendedCard": True,
        "defaultInputModes": _KINDS,
        "defaultOutputModes": _KINDS,
        "skills": [{"id": assistant.graph_id, "name": name, "description": described, "tags": ["conversation"]}],
    }
    if needs_key:
        # Written as both versions have it: each reads its own keys.
        key = {"type": "apiKey", "in": "header", "name": "x-api-key", "apiKeySecurityScheme": {"location": "header", "name": "x-api-key"}}
        shown |= {
            "securitySchemes": {"key": key},
            "security": [{"key": []}],
            "securityRequirements": [{"schemes": {"key": {"list": []}}}],
        }
    return shown
