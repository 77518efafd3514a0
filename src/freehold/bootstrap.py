"""The composition root: opens what the server and the worker need, in order, and closes it in reverse.

Nothing is created at import. Every other module receives what it uses. The web framework is imported where the server is
opened, so that a worker process does not carry it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import redis.asyncio as redis
from langchain_core.exceptions import ModelAPIError, ModelConnectionError
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import BaseTool
from langgraph.store.base import TTLConfig

from freehold.config import env
from freehold.config.load import Loaded
from freehold.config.paths import cache
from freehold.config.section import LOOPBACK_HOSTS
from freehold.config.settings import Settings
from freehold.core.errors import NotConfigured
from freehold.events.counters import UsageCounters
from freehold.events.log import EventLog, create_client
from freehold.events.reader import EventReader
from freehold.graphs.agents import assistant
from freehold.graphs.agents.model import ForgivingChatModel, create_chat_model
from freehold.graphs.loader import AnyGraph, load_object
from freehold.graphs.project import Project, project_of, read_project
from freehold.graphs.registry import GraphRegistry, load_project
from freehold.graphs.store_index import own_embedder, store_semantic
from freehold.graphs.webhooks import headers as webhook_headers
from freehold.graphs.webhooks import url_policy
from freehold.rag.embed import embedder_loader
from freehold.rag.knowledge import Knowledge
from freehold.storage.api_keys import ApiKeys
from freehold.storage.assistants import Assistants
from freehold.storage.audit import AuditLog
from freehold.storage.conversations import Conversations
from freehold.storage.crons import Crons
from freehold.storage.inbox import Inbox
from freehold.storage.pool import Pool, create_pool
from freehold.storage.quotas import Quotas, create_quotas
from freehold.storage.runs import Runs
from freehold.storage.sealing import Sealing
from freehold.storage.store import Stores
from freehold.storage.thread_runs import ThreadRuns
from freehold.storage.thread_search import ThreadSearch
from freehold.storage.threads import Threads
from freehold.storage.tool_calls import ToolCallLog
from freehold.storage.webhooks import Webhooks
from freehold.telemetry import logs, metrics, tracing
from freehold.telemetry.metrics_page import showing_metrics
from freehold.tools import calculate, current_time, query_database, search_knowledge_base
from freehold.tools.base import guard
from freehold.worker.accounting import Accounting
from freehold.worker.execute import Needs
from freehold.worker.main import Worker
from freehold.worker.retention import audit_age, policies
from freehold.worker.webhooks import SendingRules, WebhookSender

if TYPE_CHECKING:
    from freehold.server.audit import AuditWriter
    from freehold.server.oidc import TokenVerifier
    from freehold.server.parts import ServerParts

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Opened:
    """What server and worker share."""

    pool: Pool
    valkey: redis.Redis
    events: EventLog
    runs: Runs
    assistants: Assistants
    graphs: GraphRegistry
    stores: Stores
    shipped: _Shipped | None
    quotas: Quotas | None
    counters: UsageCounters
    sealing: Sealing | None = None


@asynccontextmanager
async def open_shared(settings: Settings, *, role: str) -> AsyncIterator[Opened]:
    """Connections, then the graphs, then a system assistant for each.

    Raises:
        NotConfigured: DATABASE_URL or REDIS_URL is not set.
    """
    database_url, redis_url = _urls(settings)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(tracing.exporting(settings.telemetry, role=role, project=settings.stack.name))
        sealing = _sealing(settings)
        pool = await stack.enter_async_context(
            create_pool(database_url, max_size=settings.database.pool_size, name=f"freehold-{role}", sealing=sealing)
        )
        client = create_client(redis_url)
        stack.push_async_callback(client.aclose)
        shipped = _shipped(settings, pool)
        graphs = await load_project(project_of(settings), shipped=shipped.graph if shipped else None)
        if sealing:
            await _use_encryption(sealing, graphs.project)
        stores = await _stores(settings, pool, graphs.project)
        assistants = Assistants(pool)
        await assistants.sync({graph_id: entry.description for graph_id, entry in graphs.graphs.items()})
        counters = UsageCounters(client)
        quotas = create_quotas(pool, settings.quotas, counters)
        runs = Runs(pool, quotas)
        yield Opened(pool, client, EventLog(client), runs, assistants, graphs, stores, shipped, quotas, counters, sealing)


@asynccontextmanager
async def open_server(settings: Settings) -> AsyncIterator[ServerParts]:
    """Everything the HTTP application reads."""
    from freehold.server.parts import ServerParts
    from freehold.server.standing import Standing
    from freehold.server.thread_bells import ring_for_ever

    async with (
        open_shared(settings, role="server") as shared,
        EventReader(shared.events, shared.valkey) as reader,
        AsyncExitStack() as stack,
    ):
        _keep_what_is_loaded()
        keys = ApiKeys(shared.pool)
        if first_key := env.get("FREEHOLD_BOOTSTRAP_API_KEY"):
            await keys.add(first_key, name="first", owner="local", scopes=("admin",))
        if webui_key := env.get("FREEHOLD_WEBUI_API_KEY"):
            await keys.add(webui_key, name="Open WebUI", owner="webui", scopes=("run",))
        thread_runs = ThreadRuns(shared.pool)
        ringing = asyncio.create_task(ring_for_ever(reader, thread_runs), name="thread-bells")
        stack.callback(ringing.cancel)
        yield ServerParts(
            settings=settings,
            pool=shared.pool,
            runs=shared.runs,
            standing=Standing(shared.runs),
            threads=Threads(shared.pool),
            thread_search=ThreadSearch(shared.pool),
            inbox=Inbox(shared.pool, shared.runs),
            assistants=shared.assistants,
            crons=Crons(shared.pool, shared.runs),
            api_keys=keys,
            tokens=await _tokens(settings, stack),
            audit=await _audit(settings, shared, stack),
            conversations=Conversations(shared.pool, kept=shared.sealing is None),
            events=shared.events,
            reader=reader,
            thread_runs=thread_runs,
            graphs=shared.graphs,
            stores=shared.stores,
            webhooks=_webhooks(settings, shared.pool),
            webhook_policy=url_policy(settings.webhooks, shared.graphs.project),
            sealing=shared.sealing,
            metrics_key=env.get("FREEHOLD_METRICS_KEY"),
        )


async def _tokens(settings: Settings, stack: AsyncExitStack) -> TokenVerifier | None:
    """What checks tokens of an identity provider, where they are taken."""
    if not settings.server.takes_tokens:
        return None
    from freehold.server.oidc import TokenVerifier

    return await stack.enter_async_context(TokenVerifier(settings.oidc))


async def _audit(settings: Settings, shared: Opened, stack: AsyncExitStack) -> AuditWriter | None:
    """What writes down who did what, where that is wanted; its last entries are stored before the pool closes."""
    from freehold.server.audit import AuditWriter

    project = shared.graphs.project
    asked_for = settings.server.needs_keys or (project is not None and project.auth is not None)
    wanted = settings.audit.enabled == "on" or (settings.audit.enabled == "auto" and asked_for)
    return await stack.enter_async_context(AuditWriter(AuditLog(shared.pool))) if wanted else None


@asynccontextmanager
async def open_worker(settings: Settings) -> AsyncIterator[Worker]:
    """A worker ready to `run`."""
    async with open_shared(settings, role="worker") as shared:
        needs = Needs(
            pool=shared.pool,
            runs=shared.runs,
            events=shared.events,
            graphs=shared.graphs,
            stores=shared.stores,
            run_seconds=settings.limits.run_seconds,
            webhooks=_webhook_sender(settings, shared),
        )
        _keep_what_is_loaded()
        warming = asyncio.create_task(shared.shipped.warm(), name="warm") if shared.shipped else None
        yield Worker(
            needs,
            database_url=_urls(settings)[0],
            concurrency=settings.worker.concurrency,
            lease_seconds=settings.worker.lease_seconds,
            max_attempts=settings.worker.max_attempts,
            drain_seconds=settings.worker.drain_seconds,
            retention=policies(settings.retention),
            sweep_minutes=shared.stores.sweep_minutes,
            accounting=Accounting(shared.quotas, shared.counters, AuditLog(shared.pool), forget_after=audit_age(settings.retention)),
        )
        if warming:
            warming.cancel()


def _webhooks(settings: Settings, pool: Pool) -> Webhooks:
    return Webhooks(pool, settings.webhooks.secret.get_secret_value() if settings.webhooks.secret else None)


def _webhook_sender(settings: Settings, shared: Opened) -> WebhookSender:
    chosen, project = settings.webhooks, shared.graphs.project
    rules = SendingRules(
        policy=url_policy(chosen, project),
        headers=webhook_headers(project, env.whole()),
        server_url=(chosen.server_url or settings.server.url) + (project.http.mount_prefix if project else ""),
        attempts=chosen.attempts,
        first_pause_seconds=chosen.retry_seconds,
        timeout_seconds=chosen.timeout_seconds,
    )
    return WebhookSender(_webhooks(settings, shared.pool), rules)


def _keep_what_is_loaded() -> None:
    """Modules and graphs stay until the process ends: a full collection need not walk through them, which takes 0.1 s each time."""
    gc.collect()
    gc.freeze()


def serve(loaded: Loaded) -> None:
    """Run the agent server until a signal; what `freehold serve` does."""
    import uvicorn

    from freehold.server.app import create_app

    settings = loaded.settings
    logs.set_up(settings.telemetry.log_level, settings.telemetry.log_format, content=settings.telemetry.content)
    uvicorn.run(
        create_app(settings, lambda: open_server(settings)),
        host=settings.server.host,
        port=settings.server.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.server.trusted_proxies),
        forwarded_allow_ips=list(settings.server.trusted_proxies),  # who connects, else, is who connects
        timeout_keep_alive=75,  # longer than clients and proxies keep an idle connection, so none is closed as it is used again
        ws_max_size=int(settings.limits.request_body_mb * 1024 * 1024),
        timeout_graceful_shutdown=3,  # open streams are cut then; clients go on from their last id
    )


def work(loaded: Loaded) -> None:
    """Run a worker until SIGTERM or SIGINT, then drain; what `freehold worker` does."""
    settings = loaded.settings
    logs.set_up(settings.telemetry.log_level, settings.telemetry.log_format, content=settings.telemetry.content)
    metrics.WORKER_STARTS.inc()  # before the project's code, which may be what ends it
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_work(settings))


async def _work(settings: Settings) -> None:
    loop = asyncio.get_running_loop()
    with showing_metrics(env.get("FREEHOLD_METRICS_ADDRESS"), key=env.get("FREEHOLD_METRICS_KEY")):
        async with open_worker(settings) as worker:
            for name in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(name, worker.stop)
            await worker.run(on_ready=_say_ready)


def _say_ready() -> None:
    """To the supervisor, which removes the file before the next start."""
    if path := env.get("FREEHOLD_READY_FILE"):
        Path(path).touch(mode=0o600)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    import uvloop

    return uvloop.new_event_loop


def _urls(settings: Settings) -> tuple[str, str]:
    if not settings.database.url:
        raise NotConfigured("DATABASE_URL is not set", hint="`freehold up` starts an embedded database and sets it for its processes")
    if not settings.redis.url:
        raise NotConfigured("REDIS_URL is not set", hint="`freehold up` starts an embedded Valkey and sets it for its processes")
    return settings.database.url.get_secret_value(), settings.redis.url.get_secret_value()


def _sealing(settings: Settings) -> Sealing | None:
    """Where the project encrypts: decided before the first connection is made, so that none is without it."""
    file = project_of(settings)
    return Sealing() if file and read_project(file).encryption else None


async def _use_encryption(sealing: Sealing, project: Project | None) -> None:
    """Load the project's hooks. Raises GraphError or EncryptionFailed: then nothing starts."""
    from langgraph_sdk import Encryption

    assert project and project.encryption
    hooks = await asyncio.to_thread(load_object, project.encryption.path, project, key="encryption.path", kind=Encryption)
    await sealing.use(hooks)
    log.warning(
        "encryption is on, but events wait in Valkey in clear for some minutes, and documents of the knowledge base are stored in clear;"
        " the store finds nothing by meaning or words, and conversations are not recorded",
        extra={"action": "encryption_limits"},
    )


async def _stores(settings: Settings, pool: Pool, project: Project | None) -> Stores:
    """The store as langgraph.json and freehold.toml want it."""
    sealed = bool(project and project.encryption)  # vectors tell about the text they were made of
    own = own_embedder(settings.knowledge)
    semantic = None if sealed else await asyncio.to_thread(store_semantic, project, own, wanted=settings.store.semantic)
    asked = project.store.ttl if project and project.store else None
    ttl = TTLConfig(refresh_on_read=asked.refresh_on_read, default_ttl=asked.default_ttl) if asked else None
    return Stores(pool, ttl=ttl, semantic=semantic, sweep_minutes=asked.sweep_interval_minutes if asked else None)


@dataclass(frozen=True)
class _Shipped:
    """What the shipped agent is made of."""

    model: ForgivingChatModel
    tools: Sequence[BaseTool]
    settings: Settings
    call_log: ToolCallLog

    def graph(self) -> AnyGraph:
        return assistant.build(
            self.model,
            self.tools,
            self.settings.limits,
            context_tokens=self.settings.model.context or 8192,
            call_log=self.call_log,
        )

    async def warm(self) -> None:
        """Let our own model server read the constant part of the prompt before the first question, which else waits for it."""
        if urlsplit(self.settings.model.base_url or "").hostname not in LOOPBACK_HOSTS:
            return  # nobody pays for a question that no one asked
        opening = [SystemMessage(assistant.SYSTEM_PROMPT), HumanMessage("Hello")]
        try:
            await self.model.bind_tools(list(self.tools)).ainvoke(opening, max_tokens=1)
        except (ModelAPIError, ModelConnectionError) as error:
            log.info("the model could not be warmed: %s", error, extra={"action": "warm_failed"})


def _shipped(settings: Settings, pool: Pool) -> _Shipped | None:
    """None where the shipped agent is not wanted or there is no model to talk to."""
    model = settings.model
    if not settings.agents.shipped or not model.base_url:
        return None
    call_log = ToolCallLog(pool)
    api_key = model.api_key.get_secret_value() if model.api_key else None
    return _Shipped(
        create_chat_model(model, settings.limits, base_url=model.base_url, api_key=api_key, name=model.name),
        [guard(tool, timeout_seconds=settings.tools.timeout_seconds, call_log=call_log) for tool in _tools(settings, pool)],
        settings,
        call_log,
    )


def _tools(settings: Settings, pool: Pool) -> list[BaseTool]:
    """The enabled tools that can work here: query_database needs a reader role."""
    knowledge = Knowledge(pool, embedder_loader(settings.knowledge.embedding_model, cache()), settings.knowledge)
    makers: dict[str, Callable[[], BaseTool]] = {
        "search_knowledge_base": lambda: search_knowledge_base.tool(knowledge.retrieve),
        "calculate": calculate.tool,
        "current_time": current_time.tool,
    }
    if settings.tools.sql.url:
        makers["query_database"] = lambda: query_database.tool(settings.tools.sql)
    return [makers[name]() for name in settings.tools.enabled if name in makers]
