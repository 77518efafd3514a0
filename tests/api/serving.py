"""A real server for tests: uvicorn on a free port, and a worker, in a thread with its own event loop."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from freehold.bootstrap import open_server, open_worker
from freehold.config.settings import Settings
from freehold.server.app import create_app

PROJECT = Path(__file__).parent / "project" / "langgraph.json"
START_SECONDS = 60


@contextmanager
def serving(
    database_url: str, redis_url: str, *, worker: bool | dict[str, Any] = True, server: dict[str, Any] | None = None, **sections: Any
) -> Iterator[str]:
    """URL of a server over the test project; `server`, `sections` and a worker's settings go into its settings."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        settings = Settings.model_validate(
            {
                "server": {"port": port, **(server or {})},
                "database": {"url": database_url, "pool_size": 8},
                "redis": {"url": redis_url},
                "agents": {"config": PROJECT, "shipped": False},
                **({"worker": worker} if isinstance(worker, dict) else {}),
                **sections,
            }
        )
        running = _Running(settings, listening, worker=worker is not False)
        running.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            running.stop()


class _Running:
    def __init__(self, settings: Settings, listening: socket.socket, *, worker: bool) -> None:
        self._settings = settings
        self._listening = listening
        self._with_worker = worker
        config = uvicorn.Config(
            create_app(settings, lambda: open_server(settings)), log_config=None, access_log=False, timeout_graceful_shutdown=2
        )
        self._server = uvicorn.Server(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="freehold-under-test")

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(START_SECONDS), "the server did not start"
        if self._failure:
            raise self._failure

    def stop(self) -> None:
        if self._loop and self._stopping and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(START_SECONDS)

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # handed to the test's thread
            self._failure = error
            self._ready.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        serving_task = asyncio.create_task(self._server.serve(sockets=[self._listening]))
        while not self._server.started:
            await asyncio.sleep(0.01)
            if serving_task.done():
                await serving_task
                raise RuntimeError("the server ended while it started")
        if self._with_worker:
            async with open_worker(self._settings) as worker:
                working = asyncio.create_task(worker.run())
                await self._until_stopped(serving_task)
                worker.stop()
                await working
        else:
            await self._until_stopped(serving_task)

    async def _until_stopped(self, serving_task: asyncio.Task[None]) -> None:
        assert self._stopping
        self._ready.set()
        await self._stopping.wait()
        self._server.should_exit = True
        await serving_task
