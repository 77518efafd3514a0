"""The page people see at `/`: what runs here and what to try, in one self-contained document.

Where keys are needed the page is public, so it names nothing that runs here.
"""

from __future__ import annotations

from functools import cache
from html import escape
from importlib.resources import files
from string import Template

from freehold import __version__
from freehold.server.parts import ServerParts

_TERMINAL = """freehold ask "What is 42 * 17? Use the calculator."
freehold ingest ./documents
freehold status"""

_PROGRAM = """curl $url/chat -d '{"message": "Hello"}'$key

from langgraph_sdk import get_sync_client
client = get_sync_client(url="$url"$argument)
client.runs.wait(None, "$agent", input=...)

from openai import OpenAI
OpenAI(base_url="$url/v1", api_key="$api_key").models.list()"""

_MORE = '<a href="docs">API to read and try</a> · <a href="metrics">metrics</a> · '


def home_page(parts: ServerParts, talking: list[str], *, host: str = "") -> str:
    """The page as HTML; `talking` are the agents that can be talked to, `host` is how the reader calls this server."""
    project = parts.graphs.project
    keyed = parts.settings.server.needs_keys or (project is not None and project.auth is not None)
    body = _keyed() if keyed else (_file("home_talk.html") if talking else "") + _agents(parts)
    # Through the edge documents and metrics are closed.
    more = "" if f"https://{host}" in parts.settings.server.public_urls else _MORE
    script = f"<script>{_file('home_talk.js')}</script>" if talking and not keyed else ""
    return Template(_file("home.html")).substitute(
        version=escape(__version__), body=body + _examples(parts, keyed=keyed), more=more, script=script
    )


def _keyed() -> str:
    return "<p>This server needs an API key. <code>freehold keys create NAME</code> on its machine makes one.</p>"


def _agents(parts: ServerParts) -> str:
    rows = [
        f"<li><strong>{escape(graph_id)}</strong> <span class=soft>{escape(entry.description or entry.source)}</span></li>"
        for graph_id, entry in parts.graphs.graphs.items()
    ]
    rows += [
        f"<li><strong>{escape(graph_id)}</strong> <span class=bad>does not load: {escape(error.message)}</span>"
        + (f"<br><span class=soft>{escape(error.hint)}</span></li>" if error.hint else "</li>")
        for graph_id, error in parts.graphs.failures.items()
    ]
    nothing = "<li class=soft>none; <code>freehold init</code> makes a project to start from</li>"
    return f"<h2>Agents</h2><ul>{''.join(rows) or nothing}</ul>"


def _examples(parts: ServerParts, *, keyed: bool) -> str:
    agent = "assistant" if keyed else next(iter(parts.graphs.graphs), "assistant")
    filled = Template(_PROGRAM).substitute(
        url=next(iter(parts.settings.server.public_urls), parts.settings.server.url)
        + (parts.graphs.project.http.mount_prefix if parts.graphs.project else ""),
        agent=agent,
        key=' -H "x-api-key: $KEY"' if keyed else "",
        argument=", api_key=..." if keyed else "",
        api_key="..." if keyed else "none",
    )
    return f"<h2>From a terminal</h2><pre>{escape(_TERMINAL)}</pre><h2>From a program</h2><pre>{escape(filled)}</pre>"


@cache
def _file(name: str) -> str:
    return (files("freehold.server") / name).read_text(encoding="utf-8")
