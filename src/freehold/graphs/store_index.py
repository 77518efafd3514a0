"""What langgraph.json and freehold.toml say about finding items of the store by meaning, made into an embedder."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from langchain_core.embeddings import Embeddings
from langgraph.store.base import ensure_embeddings

from freehold.config.paths import cache
from freehold.config.settings import KnowledgeSection
from freehold.core.errors import ConfigError, GraphError
from freehold.graphs.loader import load_object
from freehold.graphs.project import Project
from freehold.rag.embed import DIMENSIONS, embedder_loader
from freehold.rag.embeddings import OwnEmbeddings
from freehold.storage.store import Semantic

#: `openai:text-embedding-3-small`, as against `./embed.py:embed` and `package.module:embed`.
_PROVIDER = re.compile(r"^[a-z_]+:[^:]+", re.ASCII)


@dataclass(frozen=True)
class OwnEmbedder:
    """The embedding model of freehold.toml; `make` is called at most once."""

    name: str
    dims: int
    make: Callable[[], Embeddings]


def own_embedder(settings: KnowledgeSection) -> OwnEmbedder:
    """The embedding model of `[knowledge]`, loaded once something is embedded."""
    name = settings.embedding_model
    return OwnEmbedder(name, DIMENSIONS, lambda: OwnEmbeddings(embedder_loader(name, cache())))


def store_semantic(project: Project | None, own: OwnEmbedder, *, wanted: bool) -> Semantic | None:
    """How items are embedded; None where they are not. Blocking: it may import the project's code.

    Args:
        wanted: embed with our own model where langgraph.json has no index (`store.semantic` of freehold.toml).

    Raises:
        ConfigError: the embedder does not exist or makes vectors of another length.
        GraphError: the project's own embedder does not load.
    """
    index = project.store.index if project and project.store else None
    if project is None or index is None:
        return Semantic(own.make(), own.name, own.dims) if wanted else None
    if index.embed is None:
        if index.dims != own.dims:
            raise ConfigError(
                f"store.index.dims: {own.name} makes vectors of {own.dims} dimensions, got {index.dims}",
                hint="correct dims, or name an embedder with store.index.embed",
            )
        return Semantic(own.make(), own.name, own.dims, index.fields)
    return Semantic(_embeddings(project, index.embed), index.embed, index.dims, index.fields)


def _embeddings(project: Project, embed: str) -> Embeddings:
    if not _is_reference(embed):
        return _of_provider(embed)
    found = load_object(embed, project, key="store.index.embed", kind=object)
    if isinstance(found, Embeddings):
        return found
    if not callable(found):
        raise GraphError(f"store.index.embed: {embed}: expected a function of a list of texts, or Embeddings, got {type(found).__name__}")
    return ensure_embeddings(found)


def _of_provider(embed: str) -> Embeddings:
    from langchain.embeddings import init_embeddings  # here: most projects name no provider

    # The length of texts is limited before; OpenAI's client would fetch a tokenizer to do it again.
    more: dict[str, Any] = {"check_embedding_ctx_length": False} if embed.startswith(("openai:", "azure_openai:")) else {}
    try:
        made = init_embeddings(embed, **more)
    except (ValueError, ImportError) as error:
        raise ConfigError(
            f'store.index.embed: "{embed}": {str(error).splitlines()[0]}', hint="install its package, and set its API key"
        ) from error
    assert isinstance(made, Embeddings)  # it gives a Runnable only where no model is named
    return made


def _is_reference(embed: str) -> bool:
    """`./embed.py:embed` or `package.module:embed`."""
    target = embed.rpartition(":")[0]
    return target.endswith(".py") or "/" in target or "." in target or not _PROVIDER.match(embed)
