"""Secrets of a native stack: files in its state folder, processes kept by its supervisor, roles changed over Postgres' private socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from importlib.metadata import version

from freehold.config import paths
from freehold.config.load import Loaded
from freehold.control import client
from freehold.control.protocol import GOOD, ServiceStatus, socket_path
from freehold.core.errors import FreeholdError, Unhealthy
from freehold.operate.rotate.site import Held
from freehold.stack.plan import plan
from freehold.stack.service import Secret
from freehold.storage import migrate
from freehold.storage.api_keys import ApiKeys
from freehold.storage.pool import create_pool
from freehold.targets.native import files, machine, run, secrets
from freehold.targets.native.connections import connections
from freehold.targets.native.home import Home

#: The key of whoever set the stack up; others depend on it outside of the stack.
FIRST_KEY = "api_key"
_SERVER = "server"
#: Beside what the services themselves are given for start and end.
_SPARE_SECONDS = 30
#: Restarts by themselves after which a process counts as not well.
_CRASHES = 2


class NativeSite:
    """`rotate.site.Site` for the native stack of a state folder.

    Args:
        grace: how long the first API key goes on working once there is another.
    """

    def __init__(self, loaded: Loaded, home: Home, *, grace: timedelta) -> None:
        self._loaded = loaded
        self._home = home
        self._grace = grace

    async def held(self) -> Sequence[Held]:
        """As `Site.held`; works on a stopped stack too. Raises NotConfigured where none was ever started."""
        rendered = self._home.rendered()
        planned = {secret.name: secret for secret in await asyncio.to_thread(self._planned)}
        users, roles = secrets.users(rendered, self._home.secrets), secrets.roles(rendered)
        there = {path.name for path in self._home.secrets.iterdir() if not path.name.startswith(".")}
        return [
            _held(name, planned.get(name), secrets.changed(self._home.secrets, name), users.get(name, ()), roles.get(name))
            for name in sorted(there | users.keys() | planned.keys())
        ]

    def _planned(self) -> Sequence[Secret]:
        """What the settings say of secrets; a stack that was started with other options may have more."""
        try:
            return plan(self._loaded.settings, machine.detect(), version=version("freehold")).secrets
        except FreeholdError:
            return ()

    def read(self, name: str) -> str:
        return secrets.read(self._home.secrets, name)

    def write(self, name: str, value: str) -> None:
        files.write_private(self._home.secrets / name, value + "\n")

    async def set_passwords(self, passwords: Mapping[str, str]) -> None:
        migration = self._home.rendered().process("migrate")
        assert migration is not None, "roles come from its environment"
        await migrate.set_passwords(migration.env["FREEHOLD_PROVISION_DATABASE_URL"], passwords)

    async def prepare(self, held: Held, old: str, new: str) -> None:
        return None

    async def settle(self, held: Held, gone: str) -> None:
        """Keys that people send to the agent server have rows: it added the new one when it started, and the old one's is retired."""
        if _SERVER not in held.users:
            return
        grace = self._grace if held.name == FIRST_KEY else timedelta()
        async with create_pool(connections(self._home.path).database_url, max_size=2, name="freehold-secrets") as pool:
            await ApiKeys(pool).retire(gone, self.read(held.name), grace=grace)

    async def restart(self, processes: Sequence[str]) -> None:
        socket = socket_path(paths.runtime(self._home.path))
        before = {service.name: service for service in (await client.status(socket)).services}
        if len(processes) == 1:
            await client.restart(socket, processes[0])
        else:
            await client.restart_together(socket, processes)
        deadline = time.monotonic() + self._patience(processes)
        while True:
            now = [service for service in (await run.status(self._home)).services if service.name in processes]
            if all(service.state in GOOD for service in now):
                return
            for service in now:
                if reason := _hopeless(service, before[service.name]):
                    raise Unhealthy(f"{service.name} {reason}", hint=f"`freehold logs {service.name}` says more")
            if time.monotonic() > deadline:
                late = next(service for service in now if service.state not in GOOD)
                raise Unhealthy(f"{late.name} is {late.state} for too long: {late.why}", hint=f"`freehold logs {late.name}` says more")
            await asyncio.sleep(run.INTERVAL)

    def _patience(self, processes: Sequence[str]) -> float:
        rendered = self._home.rendered()
        found = [process for name in processes if (process := rendered.process(name))]
        return _SPARE_SECONDS + sum((process.health.start_seconds if process.health else 0) + process.grace_seconds for process in found)

    async def require_well(self) -> None:
        now = await run.status(self._home)
        if bad := [service for service in now.services if service.state not in GOOD]:
            raise Unhealthy(f"{bad[0].name} is {bad[0].state}", hint="`freehold status` and `freehold doctor` say why; mend that first")


def _hopeless(now: ServiceStatus, before: ServiceStatus) -> str | None:
    if now.state == "failed":
        return f"failed: {now.why}"
    return f"{now.ended}" if now.restarts >= before.restarts + _CRASHES else None


def _held(name: str, planned: Secret | None, changed: float | None, users: tuple[str, ...], role: str | None) -> Held:
    if planned is None:
        return Held(name, "" if users else "nothing that runs uses it", "generated", changed, users, role)
    return Held(name, planned.about, planned.source, changed, users, role, planned.lasting)
