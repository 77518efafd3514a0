"""`freehold chat`: a conversation on the terminal, tokens and tool calls as they happen."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Annotated
from uuid import uuid4

import typer

from freehold.cli import output, talk
from freehold.cli.ask import show
from freehold.core.errors import FreeholdError, InvalidRequest, Unauthenticated, Unhealthy

_HELP = "/new begins another conversation, /thread shows this one's name, /quit or Ctrl-D ends."


def chat(
    thread: Annotated[str | None, typer.Option("--thread", help="Go on with this conversation; any name will do.")] = None,
    agent: Annotated[str | None, typer.Option("--agent", help="Graph to talk with; default: the one plain chat talks to.")] = None,
    server: Annotated[str | None, typer.Option("--server", help="URL of an agent server; default: the stack of this folder.")] = None,
) -> None:
    """Talk with an agent."""
    if not sys.stdin.isatty():
        raise InvalidRequest("chat needs a terminal", hint='use `freehold ask "…" --thread NAME` in scripts')
    import readline  # noqa: F401 - importing it gives input() line editing and history

    for number in (signal.SIGTERM, signal.SIGHUP):  # here Ctrl-C only stops an answer, and these shall end the program
        signal.signal(number, signal.SIG_DFL)
    target = talk.server(server)
    output.say(output.paint(_HELP, "2"))
    current = thread or str(uuid4())
    while True:
        try:
            text = input("\n> ").strip()
        except EOFError:
            output.say("")
            return
        except KeyboardInterrupt:
            output.say(output.paint("\n(Ctrl-D ends)", "2"))
            continue
        if text in {"/quit", "/exit"}:
            return
        if text == "/new":
            current = str(uuid4())
            output.say(output.paint("a new conversation", "2"))
        elif text == "/thread":
            output.say(current)
        elif text.startswith("/"):
            output.say(_HELP)
        elif text:
            _say(text, current, agent, target)


def _say(text: str, thread: str, agent: str | None, target: talk.Server) -> None:
    """One turn; what goes wrong is shown and the conversation stays."""
    try:
        asyncio.run(_turn(text, thread, agent, target))
    except KeyboardInterrupt:
        output.say(output.paint("\n(stopped)", "2"))
    except (Unauthenticated, Unhealthy):
        raise
    except FreeholdError as error:
        output.show_error(error, json=False)


async def _turn(text: str, thread: str, agent: str | None, target: talk.Server) -> None:
    done = talk.Turn()
    async for happening in talk.turn(target, text, thread_id=thread, agent=agent, into=done):
        show(happening, tokens=True)
    sys.stdout.write("\n")
    sys.stdout.flush()
