"""`freehold models list|show|pull|rm|where`: the catalogue, and which of its models are on this machine."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Annotated

import typer

from freehold.cli import output
from freehold.config import paths
from freehold.core.errors import NotFound
from freehold.models import catalogue, download
from freehold.models.catalogue import Model

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A catalogue id, a repository name, or the path of a GGUF file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_CLASSES = {"cpu": "CPU", "8": "8 GB GPU", "24": "24 GB GPU", "80": "80 GB GPU"}


@app.callback()
def models() -> None:
    """Models: what there is, what it needs, and what of it is here."""


@app.command("list")
def list_models(json: Json = False) -> None:
    """All models of the catalogue."""
    cache = paths.cache()
    rows = [(model, download.held(model, cache)) for model in catalogue.models()]
    data = [{**_facts(model), "cached": held.complete, "cached_bytes": held.size} for model, held in rows]
    lines = [
        (model.id, model.kind, _CLASSES[model.machine_class], ", ".join(model.engines), _size(model), _state(held), model.title)
        for model, held in rows
    ]
    output.emit(data, lambda: output.table(lines, ("ID", "KIND", "FOR", "ENGINE", "SIZE", "HERE", "TITLE")), json=json)


@app.command()
def show(name: Name, json: Json = False) -> None:
    """Everything known about one model, and what that rests on."""
    model = catalogue.find(name)
    held = download.held(model, paths.cache())
    data = {**_facts(model), "cached": held.complete, "cached_bytes": held.size, "path": str(download.location(model, paths.cache()))}
    rows = [(key, _text(value)) for key, value in data.items() if value not in (None, [], "")]
    output.emit(data, lambda: output.table(rows, ("FACT", "VALUE")), json=json)


@app.command()
def pull(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Catalogue ids, repository names, or paths of GGUF files.")],
    json: Json = False,
    offline: Annotated[bool, typer.Option("--offline", help="Ask nobody: only check that the model is here.")] = False,
) -> None:
    """Fetch models into the cache and verify them; an interrupted download goes on where it stopped."""
    wanted = [catalogue.named(name, "vllm") for name in names]
    for model in wanted:
        path = asyncio.run(download.fetch(model, paths.cache(), output.progress(json), offline=offline))
        output.emit({"id": model.id, "path": str(path)}, str(path), json=json)


@app.command()
def rm(name: Name, json: Json = False) -> None:
    """Delete a model from the cache."""
    model = catalogue.find(name)
    freed = asyncio.run(download.remove(model, paths.cache(), output.progress(json)))
    output.emit({"id": model.id, "freed_bytes": freed}, f"{output.size(freed)} freed" if freed else f"{model.id} is not here", json=json)


@app.command()
def where(name: Annotated[str | None, typer.Argument(help="A model; without it, the folder of all.")] = None, json: Json = False) -> None:
    """Where models lie on this machine."""
    cache = paths.cache()
    if name is None:
        folder = cache / "models"
        output.emit({"path": str(folder)}, str(folder), json=json)
        return
    model = catalogue.find(name)
    if not download.held(model, cache).complete:
        raise NotFound(f"{model.id} is not on this machine", hint=f"`freehold models pull {model.id}` fetches it")
    path = download.location(model, cache)
    output.emit({"id": model.id, "path": str(path)}, str(path), json=json)


def _facts(model: Model) -> dict[str, object]:
    """A model's entry as JSON values; the packages of a mirror are only counted."""
    return {
        "id": model.id,
        "title": model.title,
        "kind": model.kind,
        "machine_class": model.machine_class,
        "engines": list(model.engines),
        "repo": model.repo,
        "revision": model.revision,
        "licence": model.licence,
        "size": model.size,
        "context": model.context,
        "weights_bytes": model.weights_bytes,
        "kv_bytes_per_token": model.kv_bytes_per_token,
        "tool_parser": model.tool_parser,
        "reasoning_parser": model.reasoning_parser,
        "chat_format": model.chat_format,
        "compute_capability": model.compute_capability,
        "dimensions": model.dimensions,
        "files": [{key: value for key, value in dataclasses.asdict(file).items() if value is not None} for file in model.files],
        "mirror_packages": len(model.mirror),
        "local_path": str(model.path) if model.path else None,
        "checked": model.checked,
    }


def _size(model: Model) -> str:
    return output.size(model.size) if model.size else "-"


def _state(held: download.Held) -> str:
    if held.complete:
        return "yes"
    return f"{output.size(held.size)} of it" if held.size > 0 else "no"


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(" ".join(str(part) for part in item.values()) if isinstance(item, dict) else str(item) for item in value)
    return str(value)
