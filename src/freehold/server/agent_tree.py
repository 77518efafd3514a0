"""The agents of a run as a tree, read from what its log says of their lives."""

from __future__ import annotations

from typing import Any

import orjson
from redis.exceptions import RedisError

from freehold.core.errors import StorageUnavailable
from freehold.core.event import PROTOCOL, START
from freehold.core.lifecycle import root_end
from freehold.core.run import Run
from freehold.events.log import Ask
from freehold.server.parts import ServerParts

#: Events of a log that are looked at; of a longer one, the first.
MOST_EVENTS = 20_000
PAGE = 1000

Node = dict[str, Any]


async def agent_tree(parts: ServerParts, run: Run) -> Node:
    """`{"namespace": [], "status": "completed", "graph_name": "agent", "children": [...]}`."""
    nodes: dict[tuple[str, ...], Node] = {}
    for event in await _lives(parts, run):
        data = event["params"]["data"]
        namespace = tuple(event["params"]["namespace"])
        node = nodes.setdefault(namespace, {"namespace": list(namespace), "status": "started", "graph_name": ""})
        node["status"] = data["event"]
        node["graph_name"] = data.get("graph_name") or node["graph_name"]
    root = nodes.pop((), {"namespace": [], "graph_name": ""})
    root["graph_name"] = root["graph_name"] or run.request.graph_id or ""
    if not run.is_active:
        waits = root.get("status") == "interrupted"
        root["status"] = root_end(None, run.status, run.error, waiting=waits)["event"]
    elif "status" not in root:
        root["status"] = "started"
    for namespace in sorted(nodes, key=len):
        parent = _parent(namespace, nodes, root)
        parent.setdefault("children", []).append(nodes[namespace])
    return root


def _parent(namespace: tuple[str, ...], nodes: dict[tuple[str, ...], Node], root: Node) -> Node:
    for length in range(len(namespace) - 1, 0, -1):
        if namespace[:length] in nodes:
            return nodes[namespace[:length]]
    return root


async def _lives(parts: ServerParts, run: Run) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after, seen = START, 0
    while seen < MOST_EVENTS:
        try:
            (page,) = await parts.events.read_many([Ask(run.run_id, after, PAGE)])
        except (RedisError, TimeoutError) as error:
            raise StorageUnavailable("the event store does not answer") from error
        found += [orjson.loads(event.data) for event in page if event.name.startswith(PROTOCOL + "lifecycle")]
        if len(page) < PAGE:
            break
        after, seen = page[-1].id, seen + len(page)
    return found
