"""The entry point: finds the command, loads only its module, and turns errors into a message, a hint and an exit code."""

from __future__ import annotations

import asyncio
import errno
import functools
import importlib
import importlib.util
import inspect
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperGroup

from freehold.cli import output
from freehold.core import errors
from freehold.core.errors import FreeholdError

#: Exit code of each kind of error; the nearest class in the tree decides. 2 is also what a wrong option gives.
EXIT_CODES: Mapping[type[FreeholdError], int] = {
    FreeholdError: 1,
    errors.InvalidRequest: 2,
    errors.ConfigError: 3,
    errors.Unauthenticated: 4,
    errors.Forbidden: 4,
    errors.Unhealthy: 5,
    errors.Incompatible: 6,
    errors.TimedOut: 7,
}

INTERRUPTED = 130


@dataclass(frozen=True)
class Command:
    """Where a command's function or group lies, and its line in the help."""

    target: str
    about: str


#: All commands in the order of the help. One whose module is not there is not registered.
COMMANDS: Mapping[str, Command] = {
    "up": Command("freehold.cli.up:up", "Start the stack of this folder and wait until it answers."),
    "down": Command("freehold.cli.down:down", "Stop it; all data is kept."),
    "status": Command("freehold.cli.status:status", "Each service: its state and why."),
    "logs": Command("freehold.cli.logs:logs", "What services wrote."),
    "doctor": Command("freehold.cli.doctor:doctor", "Check this machine and the stack; say what to do."),
    "reset": Command("freehold.cli.reset:reset", "Stop the stack and delete its data."),
    "ask": Command("freehold.cli.ask:ask", "Ask the agent one question."),
    "chat": Command("freehold.cli.chat:chat", "Talk with an agent."),
    "ingest": Command("freehold.cli.knowledge:ingest", "Read documents into the knowledge base."),
    "search": Command("freehold.cli.knowledge:search", "Search the knowledge base."),
    "knowledge": Command("freehold.cli.knowledge:knowledge_app", "What is in the knowledge base: list, rm."),
    "prune": Command("freehold.cli.prune:prune", "Remove old checkpoints, or threads that nobody touches any more."),
    "audit": Command("freehold.cli.audit:audit", "Who did what, and who was refused."),
    "models": Command("freehold.cli.models:app", "Models: list, show, pull, rm, where."),
    "backup": Command("freehold.cli.backup:backup", "Write the databases into one file."),
    "restore": Command("freehold.cli.restore:restore", "Put a backup's databases in the place of those that are there."),
    "upgrade": Command("freehold.cli.upgrade:upgrade", "Another version, with a way back."),
    "init": Command("freehold.cli.init:init", "Make a new agent project."),
    "check": Command("freehold.cli.check:check", "Check an agent project and the configuration."),
    "build": Command("freehold.cli.build:build", "Make an image definition or a bundle of wheels of a project."),
    "render": Command(
        "freehold.cli.render:app", "Write the stack as files for Docker Compose, or its dashboards for a Grafana of your own."
    ),
    "dev": Command("freehold.cli.dev:dev", "Serve an agent project with hot reload."),
    "serve": Command("freehold.cli.serve:serve", "Run the agent server in the foreground."),
    "worker": Command("freehold.cli.worker:worker", "Run a worker in the foreground."),
    "secrets": Command("freehold.cli.secrets:app", "Secrets of the stack: list, rotate."),
    "keys": Command("freehold.cli.keys:app", "API keys: create, list, rotate, revoke."),
    "certificate": Command("freehold.cli.certificate:app", "The certificate of the edge: show, renew."),
    "edge": Command("freehold.cli.edge:app", "The edge: user adds a name with a password."),
    "config": Command("freehold.cli.config:app", "Show the configuration and where each value comes from."),
    "version": Command("freehold.cli.version:version", "Print the version."),
}


class LazyGroup(TyperGroup):
    """A group whose commands are imported when they are called, so that `freehold version` does not load a web framework."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [name for name, command in COMMANDS.items() if _exists(command)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = COMMANDS.get(cmd_name)
        return _load(cmd_name, command) if command and _exists(command) else None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].about) for name in self.list_commands(ctx)])


app = typer.Typer(
    name="freehold",
    cls=LazyGroup,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def overview(context: typer.Context) -> None:
    """Run LLM agents on hardware you own. `freehold` alone says what runs and what to try next."""
    if context.invoked_subcommand is None:
        from freehold.cli.status import overview as show

        asyncio.run(show())


def run() -> None:
    """Entry point of the `freehold` program."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # under nohup the second is ignored, and stays so
            signal.signal(number, _like_ctrl_c)
    sys.exit(main(sys.argv[1:]))


def _like_ctrl_c(number: int, frame: object) -> None:
    """A closed terminal and `kill` end what runs in order, as Ctrl-C does: no download or half-started stack is left behind."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a script's shell starts programs in the background
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    json = "--json" in arguments
    try:
        result = app(arguments, standalone_mode=False, prog_name="freehold")
    except FreeholdError as error:
        output.show_error(error, json=json)
        return exit_code(error)
    except typer.TyperException as error:
        return _usage(error, json=json)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except OSError as error:
        return _operating_system_error(error, json=json)
    if result == INTERRUPTED:  # what typer makes of a KeyboardInterrupt
        output.say("interrupted")
    return result if isinstance(result, int) else 0


def exit_code(error: FreeholdError) -> int:
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)


def _usage(error: typer.TyperException, *, json: bool) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "freehold"
    output.show_error(errors.InvalidRequest(error.format_message(), hint=f"`{command} --help` shows what it takes"), json=json)
    return 2


def _operating_system_error(error: OSError, *, json: bool) -> int:
    if error.errno == errno.ENOSPC:
        full = errors.OutOfSpace(f"the disk is full{f': {error.filename}' if error.filename else ''}", hint="make room, then try again")
        output.show_error(full, json=json)
        return exit_code(full)
    raise error


def _exists(command: Command) -> bool:
    return importlib.util.find_spec(command.target.partition(":")[0]) is not None


def _load(name: str, command: Command) -> Any:
    module, _, attribute = command.target.partition(":")
    target = getattr(importlib.import_module(module), attribute)
    if not isinstance(target, typer.Typer):
        alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        alone.command(name)(_synchronous(target))
        target = alone
    loaded = typer.main.get_command(target)
    loaded.name = name
    return loaded


def _synchronous(function: Callable[..., Any]) -> Callable[..., Any]:
    """Commands may be coroutines; the program's one event loop is started here."""
    if not inspect.iscoroutinefunction(function):
        return function

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(function(*args, **kwargs))

    return wrapper
