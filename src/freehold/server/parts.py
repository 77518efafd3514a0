"""What the server needs of the rest, in one value: built by the composition root, read by every route."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from freehold.config.settings import Settings
from freehold.events.log import EventLog
from freehold.events.reader import EventReader
from freehold.graphs.registry import GraphRegistry
from freehold.outbound.policy import UrlPolicy
from freehold.server.audit import AuditWriter
from freehold.server.standing import Standing
from freehold.storage.api_keys import ApiKeys
from freehold.storage.assistants import Assistants
from freehold.storage.conversations import Conversations
from freehold.storage.crons import Crons
from freehold.storage.inbox import Inbox
from freehold.storage.pool import Pool
from freehold.storage.runs import Runs
from freehold.storage.sealing import Sealing
from freehold.storage.store import Stores
from freehold.storage.thread_runs import ThreadRuns
from freehold.storage.thread_search import ThreadSearch
from freehold.storage.threads import Threads
from freehold.storage.webhooks import Webhooks

if TYPE_CHECKING:  # loaded where tokens are taken
    from freehold.server.oidc import TokenVerifier


@dataclass(frozen=True)
class ServerParts:
    """Everything is open and ready; who made it closes it."""

    settings: Settings
    pool: Pool
    runs: Runs
    standing: Standing
    threads: Threads
    thread_search: ThreadSearch
    inbox: Inbox
    assistants: Assistants
    crons: Crons
    api_keys: ApiKeys
    #: None where no tokens are taken.
    tokens: TokenVerifier | None
    #: None where nothing is written down.
    audit: AuditWriter | None
    conversations: Conversations
    events: EventLog
    reader: EventReader
    thread_runs: ThreadRuns
    graphs: GraphRegistry
    stores: Stores
    webhooks: Webhooks
    webhook_policy: UrlPolicy
    #: None where the project does not encrypt.
    sealing: Sealing | None = None
    #: Opens GET /metrics; None where only credentials of callers do.
    metrics_key: str | None = None


async def _of_app(connection: HTTPConnection) -> ServerParts:
    return cast(ServerParts, connection.app.state.parts)


#: Parameter type of handlers that need the parts.
Parts = Annotated[ServerParts, Depends(_of_app)]
