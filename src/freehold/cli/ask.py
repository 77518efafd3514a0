"""`freehold ask`: one question, one answer; for people on a terminal and, with --json, for scripts."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from typing import Annotated

import typer

from freehold.cli import output, talk
from freehold.core.errors import InvalidRequest


def ask(
    question: Annotated[str | None, typer.Argument(help="The question; read from standard input where it is left out.")] = None,
    thread: Annotated[str | None, typer.Option("--thread", help="Go on with this conversation; any name will do.")] = None,
    agent: Annotated[str | None, typer.Option("--agent", help="Graph to ask; default: the one plain chat talks to.")] = None,
    server: Annotated[str | None, typer.Option("--server", help="URL of an agent server; default: the stack of this folder.")] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print answer, thread, run, tool calls, sources, usage and seconds as JSON.")
    ] = False,
) -> None:
    """Ask the agent one question."""
    text = question if question is not None else (None if sys.stdin.isatty() else sys.stdin.read())
    if not text or not text.strip():
        raise InvalidRequest("there is no question", hint='freehold ask "What is 42 * 17? Use the calculator."')
    done = asyncio.run(_ask(text, thread, agent, talk.server(server), quiet=json))
    output.emit(dataclasses.asdict(done), lambda: "" if sys.stdout.isatty() else done.answer, json=json)


async def _ask(question: str, thread: str | None, agent: str | None, server: talk.Server, *, quiet: bool) -> talk.Turn:
    done = talk.Turn()
    live = not quiet and sys.stdout.isatty()
    async for happening in talk.turn(server, question, thread_id=thread, agent=agent, into=done):
        if not quiet:
            show(happening, tokens=live)
    if live:
        sys.stdout.write("\n")
    if done.interrupts and not quiet:
        output.say(f"The agent waits for you: {done.interrupts[0].get('value')}")
        output.say(f"hint: answer with POST {server.url}/threads/…/runs, command.resume (docs/reference/api.md)")
    if live:
        output.say(output.paint(f"{done.seconds:.1f} s · thread {done.thread_id}", "2"))
    return done


def show(happening: talk.Happening, *, tokens: bool) -> None:
    """Tokens on stdout as they come, tool calls as dim lines on stderr."""
    data = happening.data
    if happening.kind == "token" and tokens:
        sys.stdout.write(data["text"])
        sys.stdout.flush()
    elif happening.kind == "tool_call":
        arguments = ", ".join(f"{name}={value!r}" for name, value in (data.get("args") or {}).items())
        output.say(output.paint(f"→ {data['name']}({arguments})", "2"))
    elif happening.kind == "restart":
        output.say(output.paint("\n(the worker died; another one says it again)", "2"))
    elif happening.kind == "tool_result":
        text = " ".join(str(data.get("content", "")).split())
        output.say(output.paint(f"← {text[:160]}{'…' if len(text) > 160 else ''}", "2"))
