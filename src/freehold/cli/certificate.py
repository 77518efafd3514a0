"""`freehold certificate`: the certificate of the edge."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from freehold.cli import output

if TYPE_CHECKING:
    from freehold.config.settings import Settings
    from freehold.operate.certificates.folder import EdgeFolder
    from freehold.operate.certificates.keep import Outcome, Sources

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Config = Annotated[Path | None, typer.Option("--config", help="A freehold.toml; default: the one in this folder.")]
Folder = Annotated[Path | None, typer.Option("--folder", help="Folder of the edge; default: that of this folder's stack.")]

_SAID = {
    "kept": "the certificate is as it was",
    "made": "a self-signed certificate was made",
    "taken": "edge.certificate and edge.key are in use",
    "renewed": "the certificate was renewed",
    "waiting": "a self-signed certificate stands in until the authority has given one",
}


@app.command()
def show(config: Config = None, folder: Folder = None, json: AsJson = False) -> None:
    """Whom it is for, who signed it, and until when."""
    from freehold.core.errors import NotConfigured

    _, edge, _ = _opened(config, folder)
    pair = edge.certificate()
    if pair is None:
        raise NotConfigured(f"no certificate in {edge.path}", hint="`freehold up --with edge` makes one")
    output.emit(_described(edge, pair), lambda: _text(edge, pair), json=json)


@app.command()
def prepare(config: Config = None, folder: Folder = None, json: AsJson = False) -> None:
    """See to it that there is one, without asking anybody; `up` does this before the edge starts."""
    from freehold.operate.certificates.keep import prepare as work

    settings, edge, sources = _opened(config, folder)
    _tell(edge, work(settings, edge, sources, datetime.now(UTC)), json=json)


@app.command()
def renew(
    force: Annotated[bool, typer.Option("--force", help="Although the present one is good for a while yet.")] = False,
    config: Config = None,
    folder: Folder = None,
    json: AsJson = False,
) -> None:
    """Replace it where it is due; for a timer, once a day. The edge uses the new one within a minute, nothing is restarted."""
    from freehold.operate.certificates.acme import ask
    from freehold.operate.certificates.keep import renew as work

    settings, edge, sources = _opened(config, folder)
    _tell(edge, work(settings, edge, sources, datetime.now(UTC), ask=ask, force=force), json=json)


@app.command(hidden=True)
def keep(config: Config = None, folder: Folder = None) -> None:
    """Renew for ever; a service of the stack where edge.tls is "acme"."""
    from freehold.operate.certificates.acme import ask
    from freehold.operate.certificates.keep import keep as work
    from freehold.telemetry import logs

    settings, edge, sources = _opened(config, folder)
    logs.set_up(settings.telemetry.log_level, settings.telemetry.log_format)
    asyncio.run(work(settings, edge, sources, ask=ask))


def _opened(config: Path | None, folder: Path | None) -> tuple[Settings, EdgeFolder, Sources]:
    from freehold.config import env, paths
    from freehold.config.load import load
    from freehold.operate.certificates.folder import EdgeFolder
    from freehold.operate.certificates.keep import Sources
    from freehold.targets.native.arrange import edge_folder
    from freehold.targets.native.home import Home

    given = (env.get("FREEHOLD_EDGE_CERTIFICATE_FILE"), env.get("FREEHOLD_EDGE_KEY_FILE"), env.get("FREEHOLD_EDGE_USERS_FILE"))
    place = folder or edge_folder(Home(paths.home()))
    return load(config).settings, EdgeFolder(place), Sources(*(Path(path) if path else None for path in given))


def _tell(edge: EdgeFolder, outcome: Outcome, *, json: bool) -> None:
    from freehold.operate.certificates.keep import measure

    measure(outcome)
    for warning in outcome.warnings:
        output.say(f"warning: {warning}")
    data = {"done": outcome.done, **_described(edge, outcome.pair), "warnings": list(outcome.warnings)}
    output.emit(data, lambda: f"{_SAID[outcome.done]}\n{_text(edge, outcome.pair)}", json=json)


def _described(edge: EdgeFolder, pair: Any) -> dict[str, Any]:
    return {
        "names": list(pair.names),
        "issuer": pair.certificate.issuer.rfc4514_string(),
        "self_signed": pair.is_self_signed,
        "ends": pair.ends.isoformat(),
        "renewed_from": pair.due(datetime.now(UTC)).isoformat(),
        "certificate": str(edge.path / "certificate.crt"),
    }


def _text(edge: EdgeFolder, pair: Any) -> str:
    data = _described(edge, pair)
    signed = "itself" if data["self_signed"] else data["issuer"]
    rows = {"for": ", ".join(data["names"]), "signed by": signed, "until": data["ends"][:10], "file": data["certificate"]}
    return "\n".join(f"  {name:<12}{value}" for name, value in rows.items())
