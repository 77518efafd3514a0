"""`freehold up`."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from freehold.cli import containers, output

if TYPE_CHECKING:
    import subprocess

    from freehold.config.load import Loaded
    from freehold.control.protocol import StackStatus
    from freehold.stack.plan import Stack
    from freehold.targets.native.home import Home
    from freehold.targets.native.need import Need
    from freehold.targets.native.up import Outcome


async def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once everything answers; the stack goes on running.")] = False,
    port: Annotated[int | None, typer.Option("--port", help="Port of the agent server.")] = None,
    host: Annotated[str | None, typer.Option("--host", help="Address it listens on; other than loopback, API keys are needed.")] = None,
    model_port: Annotated[int | None, typer.Option("--model-port", help="Port of the model server.")] = None,
    target: Annotated[str | None, typer.Option("--target", help='Where it runs: "native" or "compose" (containers).')] = None,
    environment: Annotated[str | None, typer.Option("--env", help="Lay freehold.NAME.toml over freehold.toml.", metavar="NAME")] = None,
    with_: Annotated[str | None, typer.Option("--with", help="Services beside the agents, e.g. edge,monitoring.")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="A freehold.toml.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Fetch and build without asking.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Start the stack of this folder and wait until it answers."""
    from freehold.config import env, load, paths
    from freehold.targets.native import machine, model
    from freehold.targets.native import up as native
    from freehold.targets.native.home import Home

    async def prepare(stack: Stack) -> model.Prepared:
        await _announce(await model.needs(stack, machine.detect(), paths.cache()), ask=not yes and not json)
        return await model.prepare(stack, paths.cache(), progress)

    env.choose_overlay(environment)
    overrides = {"server.port": port, "server.host": host, "model.port": model_port, "stack.target": target}
    loaded = load.load(config, overrides=overrides, services=[name.strip() for name in (with_ or "").split(",") if name.strip()])
    if loaded.settings.stack.target == "compose":
        return await containers.up(loaded, json=json)
    home, progress = Home(paths.home()), output.progress(json)
    if home.upgrade_file.exists():
        from freehold.operate.upgrade.journal import require_finished

        require_finished(home)
    try:
        outcome = await native.up(loaded, home, progress, prepare=prepare, attached=not detach)
    except asyncio.CancelledError:
        output.say("nothing was left running; what was fetched and built is kept, and the next start goes on from there")
        raise
    if not outcome.was_running:
        options = {"--port": port, "--host": host, "--model-port": model_port, "--env": environment, "--with": with_}
        _remember(home, [part for name, value in options.items() if value is not None for part in (name, str(value))])
    output.emit(_data(outcome), lambda: _greeting(outcome, loaded, home), json=json)
    if not detach and outcome.supervisor:
        await _stay(home, outcome.supervisor, json=json)


def _remember(home: Home, options: list[str]) -> None:
    """So that an upgrade starts the stack likewise."""
    import json

    from freehold.targets.native.files import write_private

    write_private(home.options_file, json.dumps(options) + "\n")


async def _announce(needs: list[Need], *, ask: bool) -> None:
    """Say before gigabytes are fetched what they are, and that there is a quicker way."""
    if not needs:
        return
    output.say("This first start fetches and builds:")
    for need in needs:
        amount = ", ".join(
            part
            for part in (output.size(need.size) if need.size else "", f"about {output.duration(need.seconds)}" if need.seconds else "")
            if part
        )
        output.say(f"  {need.what}{f' ({amount})' if amount else ''}")
    output.say(
        "Times are for this machine and 100 Mbit/s. What is here stays in the cache; Ctrl-C is safe, the next start goes on from there."
    )
    output.say("Or use a model that runs elsewhere, within a minute: OPENAI_BASE_URL=http://host:port/v1 freehold up")
    if ask and output.can_ask():
        typer.confirm("Go on?", default=True, abort=True, err=True)


def _data(outcome: Outcome) -> dict[str, object]:
    return {
        "status": "running",
        "was_running": outcome.was_running,
        "needs_restart": outcome.needs_restart,
        "url": outcome.status.server_url,
        "api_key": outcome.new_api_key,
        "webui_password": outcome.new_webui_password,
        "services": {service.name: {"state": service.state, "pid": service.pid} for service in outcome.status.services},
    }


def _greeting(outcome: Outcome, loaded: Loaded, home: Home) -> str:
    from freehold.stack.deployment import has
    from freehold.stack.edge.site import behind_edge, public_urls
    from freehold.targets.systemd import notify

    url, settings, edge = outcome.status.server_url, loaded.settings, []
    if has(settings, "edge"):
        edge, settings = [f"  edge           {public_urls(settings)[0]}"], behind_edge(settings)
    first = "Freehold is running already." if outcome.was_running else "Freehold is up."
    lines = [output.paint(first, "1;32"), ""]
    if outcome.needs_restart:
        lines = [first, "Settings or version changed since: `freehold down`, then `freehold up` to apply them.", ""]
    lines += [f"  agent server   {url}", f"  API docs       {url}/docs", f"  OpenAI API     {url}/v1"]
    lines += [*edge, *_beside(outcome, loaded, home)]
    if settings.server.takes_tokens:
        lines += ["", f"  tokens of {settings.oidc.issuer} are taken"]
    if settings.server.takes_keys:
        lines += ["", f"  API keys are needed; the first one is in {home.secrets / 'api_key'}"]
    if outcome.new_api_key and not notify.is_listening():  # a journal keeps what is printed
        lines += [f"  {outcome.new_api_key}", "  It is shown this once."]
    lines += ["", "Try:", '  freehold ask "What is 42 * 17? Use the calculator."']
    return "\n".join(lines)


def _beside(outcome: Outcome, loaded: Loaded, home: Home) -> list[str]:
    """Where the services are that people go to, and with what they get in."""
    from freehold.stack.environment import phoenix_has_users
    from freehold.targets.systemd import notify

    ports = {service.name: service.ports[0] for service in outcome.status.services if service.ports}
    lines = []
    if port := ports.get("gateway"):
        lines += [f"  gateway        http://127.0.0.1:{port}/v1, with the key in {home.secrets / 'gateway_key'}"]
    if port := ports.get("webui"):
        lines += [f"  Open WebUI     http://127.0.0.1:{port}", f"                 sign in as {loaded.settings.webui.admin_email}"]
        password = None if notify.is_listening() else outcome.new_webui_password
        lines += [
            f"                 password {password}, shown this once"
            if password
            else f"                 password: {home.secrets / 'webui_password'}"
        ]
    if port := ports.get("phoenix"):
        host = "127.0.0.1" if loaded.settings.tracing.host == "0.0.0.0" else loaded.settings.tracing.host  # noqa: S104 - shown, not bound
        lines += [f"  Phoenix        http://{host}:{port}"]
        if phoenix_has_users(loaded.settings):
            lines += [f"                 sign in as admin@localhost, first password: {home.secrets / 'phoenix_password'}"]
    if port := ports.get("mlflow"):
        lines += [f"  MLflow         http://127.0.0.1:{port}"]
    if port := ports.get("searxng"):
        lines += [f"  SearXNG        http://127.0.0.1:{port}"]
    if port := ports.get("prometheus"):
        lines += [
            f"  Prometheus     http://127.0.0.1:{port}",
            "                 Grafana cannot be had without containers; `freehold render dashboards` writes its pages for one of yours",
        ]
    return lines


async def _stay(home: Home, supervisor: subprocess.Popen[bytes], *, json: bool) -> None:
    """In the foreground until Ctrl-C or `freehold down`: show what changes, then end in order.

    Raises:
        Unhealthy: the supervisor ended otherwise.
    """
    from freehold.core.errors import TimedOut, Unhealthy
    from freehold.targets.native import run
    from freehold.targets.native import up as native
    from freehold.targets.systemd import notify

    notify.ready()
    output.say("Ctrl-C ends it; `freehold up --detach` would leave it running.")
    shown: dict[str, tuple[str, str | None]] = {}
    try:
        while supervisor.poll() is None:
            with suppress(Unhealthy, TimedOut):  # it is ending, or busy: only its own end counts
                _show_changes(await run.status(home), shown)
            await asyncio.sleep(0.5)
    except asyncio.CancelledError:
        notify.stopping()
        await native.end(home, supervisor, output.progress(json))
        output.say("all services have ended; the data is kept")
        return
    if supervisor.returncode != 0:
        await native.end(home, supervisor, output.progress(json))
        raise Unhealthy(f"the supervisor ended by itself ({supervisor.returncode})", hint="`freehold logs supervisor` says why")
    output.say("the stack has ended")


def _show_changes(status: StackStatus, shown: dict[str, tuple[str, str | None]]) -> None:
    for service in status.services:
        now = (service.state, service.why)
        if shown.get(service.name, now) != now:
            output.say(f"{service.name} is {service.state}{f': {service.why}' if service.why else ''}")
        shown[service.name] = now
