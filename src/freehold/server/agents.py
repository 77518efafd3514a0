"""Which graphs can be talked to: those that keep `messages`. Found out once per graph, because a factory may be slow."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from freehold.core.errors import GraphError, InvalidRequest
from freehold.graphs.registry import GraphRegistry


class Agents:
    """The graphs of this server that take part in a conversation."""

    def __init__(self, graphs: GraphRegistry) -> None:
        self._graphs = graphs
        self._talks: dict[str, bool] = {}

    async def list(self) -> list[str]:
        """Ids of the graphs that can be talked to; one whose factory fails is left out."""
        found = []
        for graph_id in self._graphs.graphs:
            try:
                if await self._can_talk(graph_id):
                    found.append(graph_id)
            except GraphError:
                continue
        return found

    async def check(self, graph_id: str) -> None:
        """Raises InvalidRequest where the graph cannot be talked to, GraphError where its factory fails."""
        if not await self._can_talk(graph_id):
            raise _cannot_talk(graph_id)

    async def default(self) -> str:
        """The graph plain chat talks to: the registry's default where it can be talked to, else the first that can.

        Raises:
            NotConfigured: no graph is served.
            InvalidRequest: none of them can be talked to.
            GraphError: the factory of the default fails.
        """
        preferred = self._graphs.default()
        if await self._can_talk(preferred):
            return preferred
        if talking := await self.list():
            return talking[0]
        raise _cannot_talk(preferred)

    async def _can_talk(self, graph_id: str) -> bool:
        if graph_id not in self._talks:
            async with self._graphs.open(graph_id, {"configurable": {}}, access="assistants.read") as graph:
                self._talks[graph_id] = "messages" in graph.channels
        return self._talks[graph_id]


def _cannot_talk(graph_id: str) -> InvalidRequest:
    return InvalidRequest(
        f'the graph "{graph_id}" keeps no "messages", so it cannot be talked to', hint="use POST /runs/wait with the input it takes"
    )


async def _of_app(connection: HTTPConnection) -> Agents:
    return cast(Agents, connection.app.state.agents)


#: Parameter type of handlers that talk to graphs.
TalkingAgents = Annotated[Agents, Depends(_of_app)]
