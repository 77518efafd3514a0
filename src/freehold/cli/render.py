"""`freehold render`: a stack as files that other tools run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli import output

if TYPE_CHECKING:
    from freehold.operate.containers import Written

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def render() -> None:
    """Write a stack as files that other tools run."""


@app.command()
def compose(
    out: Annotated[Path, typer.Option("--out", help="Folder to write to; its secrets are kept.")],
    config: Annotated[Path | None, typer.Option("--config", help="A freehold.toml.")] = None,
    environment: Annotated[str | None, typer.Option("--env", help="Lay freehold.NAME.toml over freehold.toml.", metavar="NAME")] = None,
    with_: Annotated[str | None, typer.Option("--with", help="Services beside the agents, e.g. gateway,monitoring.")] = None,
    image: Annotated[str | None, typer.Option("--image", help="An image with Freehold and the project in it; then none is built.")] = None,
    extra_ca: Annotated[
        Path | None, typer.Option("--extra-ca", help="Certificate of a proxy that re-signs TLS, trusted by the image.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """A folder that `docker compose up` runs: compose.yaml, files, secrets, and the definition of the project's image."""
    import asyncio

    from freehold.config import env, load
    from freehold.operate.containers import write_folder
    from freehold.targets.native import machine

    env.choose_overlay(environment)
    loaded = load.load(config, services=[name.strip() for name in (with_ or "").split(",") if name.strip()])
    written = asyncio.run(
        write_folder(loaded.settings, machine.detect(), out.absolute(), output.progress(json), image=image, extra_ca=extra_ca)
    )
    data = {
        "folder": str(written.folder),
        "image": written.image,
        "services": [service.name for service in written.stack.ordered()],
        "made_secrets": list(written.made),
    }
    output.emit(data, lambda: _human(written), json=json)


@app.command()
def systemd(
    out: Annotated[Path, typer.Option("--out", help="Folder to write the units to.")],
    user: Annotated[bool, typer.Option("--user", help="Units of your own service manager, without root.")] = False,
    run_as: Annotated[str | None, typer.Option("--run-as", help="User of the machine's service; default: who calls this.")] = None,
    compose_folder: Annotated[
        Path | None, typer.Option("--compose", help="A folder that `freehold render compose` wrote; default: the native stack.")
    ] = None,
    backups: Annotated[Path | None, typer.Option("--backups", help="Folder for a backup each day; the last seven are kept.")] = None,
    prune: Annotated[
        str | None, typer.Option("--prune", metavar="AGE", help='Remove checkpoints older than this each day, e.g. "30d".')
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="A freehold.toml; default: the one in this folder.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Units of systemd for the stack of this folder, with timers for what is due each day."""
    from freehold.config import load
    from freehold.operate import units

    wanted = units.Wanted(user=user, run_as=run_as, compose=compose_folder, backups=backups, prune=prune)
    names = units.write(load.load(config), wanted, out)
    timers = [name for name in names if name.endswith(".timer")]
    enabled = [name for name in names if name.endswith(".service") and name.removesuffix(".service") + ".timer" not in timers] + timers
    where, manager = ("~/.config/systemd/user", "systemctl --user") if user else ("/etc/systemd/system", "sudo systemctl")
    commands = [
        f"{'mkdir -p ' + where + ' && cp' if user else 'sudo cp'} {out}/* {where}/",
        f"{manager} daemon-reload",
        f"{manager} enable --now {' '.join(enabled)}",
        *(["loginctl enable-linger    # it runs without you being logged in"] if user else []),
    ]
    data = {"folder": str(out), "units": names, "commands": commands}
    output.emit(data, lambda: "\n".join([f"{out}: {', '.join(names)}", "", "Then:", *(f"  {line}" for line in commands)]), json=json)


def _human(written: Written) -> str:
    names = ", ".join(service.name for service in written.stack.ordered())
    lines = [f"{written.folder} is ready: {names}"]
    if written.made:
        lines.append(f"{len(written.made)} secrets were made; they lie in {written.folder / 'secrets'} and are never replaced")
    return "\n".join([*lines, "", "Try:", f"  cd {written.folder} && docker compose up --detach --wait"])


@app.command()
def dashboards(
    out: Annotated[Path, typer.Option("--out", help="Folder to write to.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Our dashboards and recording rules, for a Grafana and a Prometheus of your own."""
    from freehold.config import load
    from freehold.operate.dashboards import write_dashboards

    written = write_dashboards(out.absolute(), load.load().settings)
    pages = "\n".join(f"  {path.name}" for path in written)
    human = f"{out.absolute()} has\n{pages}\n\nGive recording.yml to Prometheus (rule_files), import the others into Grafana."
    output.emit({"folder": str(out.absolute()), "files": [path.name for path in written]}, human, json=json)
