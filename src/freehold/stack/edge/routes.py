"""Which paths of the main server lead where. nginx.conf and the table in docs/how-to/edge.md are both made from this list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Goal = Literal["server", "gateway", "closed"]


@dataclass(frozen=True)
class Route:
    """One location."""

    #: As nginx has it: `("=", "/health")`, `("^~", "/docs/")`, `("~", "^/…$")`, or `("/",)`. Expressions go before prefixes, but for
    #: those with `^~`.
    match: tuple[str, ...]
    goal: Goal
    #: For people.
    path: str
    about: str
    #: Asked without a credential, whatever else needs one.
    public: bool = False
    #: Methods; empty: all.
    methods: tuple[str, ...] = ()


#: Paths that a model server behind the gateway answers; all others of its many are closed.
_MODEL_CALLS = "chat/completions|completions|responses|embeddings|rerank"

#: Prefixes of the server's API below which a word like "docs" is the name of somebody's agent.
_API = "assistants|threads|runs|store|v1|a2a"

ROUTES: tuple[Route, ...] = (
    Route(("=", "/health"), "server", "/health", "whether the stack is well", public=True, methods=("GET", "HEAD")),
    Route(("=", "/ok"), "server", "/ok", "whether the server answers", public=True, methods=("GET", "HEAD")),
    Route(("~", f"^/models/v1/(?:{_MODEL_CALLS})$"), "gateway", "/models/v1/chat/completions, …", "models (keys)", methods=("POST",)),
    Route(("~", "^/models/v1/models(?:/[^/]+)?$"), "gateway", "/models/v1/models", "which models there are", methods=("GET", "HEAD")),
    Route(("/models/",), "closed", "/models/…", "everything else of the gateway: its keys, its pages, its settings"),
    Route(("=", "/metrics"), "closed", "/metrics", "measurements, for Prometheus within the stack"),
    Route(("=", "/openapi.json"), "closed", "/openapi.json", "the description of the API"),
    Route(("=", "/docs"), "closed", "/docs", "the pages of the API"),
    Route(("^~", "/docs/"), "closed", "/docs/…", "their files"),
    Route(("=", "/auth/check"), "closed", "/auth/check", "what the edge itself asks"),
    Route(
        ("~", rf"^/(?!(?:{_API})/).+/(?:metrics|openapi\.json|docs|docs/[^/]+|auth/check)$"),
        "closed",
        "PREFIX/metrics, PREFIX/docs, …",
        "the same below http.mount_prefix of langgraph.json",
    ),
    Route(("/",), "server", "/", "the agent server: its page, the LangGraph API, /api, /chat, /v1 (agents as OpenAI models), /mcp, /a2a"),
)
