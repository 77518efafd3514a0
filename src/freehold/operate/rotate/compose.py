"""Secrets of a Compose stack: files in its folder that containers read when they start, so those who know one are restarted."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import secrets as random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from freehold.core.errors import Unhealthy
from freehold.operate.backup import compose as databases
from freehold.operate.rotate.site import Held
from freehold.stack.service import Secret
from freehold.targets.compose import docker, run, write
from freehold.targets.compose.told import Told, told
from freehold.targets.native import files, secrets

#: As long as a large model may take to load.
_PATIENCE_SECONDS = 1500.0
_INTERVAL = 1.0
#: As PostgreSQL makes them.
_ITERATIONS, _SALT_BYTES = 4096, 16
#: Valkey takes several passwords, so both are let in while others restart, and it itself need not.
_VALKEY = "valkey"
_POSTGRES = "postgres"


class ComposeSite:
    """`rotate.site.Site` for the stack of a Compose folder.

    Args:
        planned: what the settings say of secrets, for their descriptions.
    """

    def __init__(self, folder: Path, planned: Sequence[Secret]) -> None:
        run.require(folder)
        self._folder = folder
        self._planned = {secret.name: secret for secret in planned}

    async def held(self) -> Sequence[Held]:
        found = await told(self._folder)
        there = {path.name for path in self._secrets.iterdir() if not path.name.startswith(".")}
        return [self._held(name, found) for name in sorted(there)]

    def _held(self, name: str, found: Told) -> Held:
        planned, role = self._planned.get(name), found.roles.get(name)
        # Postgres itself reads a password of its superuser at its very first start alone.
        users = tuple(user for user in found.users(name) if not (role and user == _POSTGRES) and name != user)
        changed = secrets.changed(self._secrets, name)
        if planned is None:
            return Held(name, "" if users else "nothing that runs uses it", "given", changed, users, role)
        return Held(name, planned.about, planned.source, changed, users, role, planned.lasting)

    @property
    def _secrets(self) -> Path:
        return self._folder / "secrets"

    def read(self, name: str) -> str:
        return secrets.read(self._secrets, name)

    def write(self, name: str, value: str) -> None:
        files.write_private(self._secrets / name, value + "\n")
        user = write.owner()
        if user[0] != os.getuid():
            os.chown(self._secrets / name, *user, follow_symlinks=False)

    async def set_passwords(self, passwords: Mapping[str, str]) -> None:
        server = databases.server(self._folder, await told(self._folder))
        statements = [f"ALTER ROLE \"{role}\" PASSWORD '{scram(password)}';" for role, password in passwords.items()]
        await server.execute("\n".join(statements), database="postgres", single_transaction=True)

    async def prepare(self, held: Held, old: str, new: str) -> None:
        if held.name == _VALKEY:
            await databases.valkey(self._folder, old, f"ACL SETUSER default >{new}")

    async def settle(self, held: Held, gone: str) -> None:
        if held.name == _VALKEY:
            await databases.valkey(self._folder, self.read(held.name), f"ACL SETUSER default <{gone}")

    async def restart(self, processes: Sequence[str]) -> None:
        """Containers read their secrets anew when they start; they need not be made anew for it."""
        if len(processes) > 1:
            await docker.compose(self._folder, "stop", *processes[1:])
        for name in processes:
            await docker.compose(self._folder, "restart", "--no-deps", name)
            await self._until_well(name)

    async def _until_well(self, service: str) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            own = [container for container in await docker.containers(self._folder) if container.service == service]
            if own and all(container.is_well for container in own):
                return
            if bad := [
                container for container in own if container.state in ("exited", "dead", "restarting") or container.health == "unhealthy"
            ]:
                raise Unhealthy(f"{service} is not well: {bad[0].status}", hint=f"`docker compose logs {service}` says more")
            if time.monotonic() > deadline:
                raise Unhealthy(f"{service} is not well in time", hint=f"`docker compose logs {service}` says more")
            await asyncio.sleep(_INTERVAL)

    async def require_well(self) -> None:
        containers = await docker.containers(self._folder)
        if not containers:
            raise Unhealthy("this stack does not run", hint="`docker compose up --detach --wait` starts it")
        if bad := [container for container in containers if not container.is_well]:
            raise Unhealthy(f"{bad[0].service} is not well: {bad[0].status}", hint="mend that first")


def scram(password: str) -> str:
    """What PostgreSQL stores of a password (RFC 5803), so that the password itself is in no statement.

    Args:
        password: ASCII, as all that we make are.
    """
    salt = random.token_bytes(_SALT_BYTES)
    return verifier(password, salt)


def verifier(password: str, salt: bytes) -> str:
    """`SCRAM-SHA-256$4096:SALT$STORED_KEY:SERVER_KEY`"""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    parts = [base64.b64encode(part).decode() for part in (salt, stored, hmac.digest(salted, b"Server Key", "sha256"))]
    return f"SCRAM-SHA-256${_ITERATIONS}:{parts[0]}${parts[1]}:{parts[2]}"
