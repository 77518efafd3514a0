"""Sees to it that the edge has a certificate, and later that it has a newer one."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from freehold.config.settings import Settings
from freehold.core.errors import ConfigError, FreeholdError
from freehold.operate import measures
from freehold.operate.certificates.folder import EdgeFolder
from freehold.operate.certificates.pair import Pair, check, read, self_signed
from freehold.stack.edge import site

log = logging.getLogger(__name__)

#: Seconds between two looks at the certificate, and until an authority that refused is asked again: it counts failures by the hour.
LOOK_SECONDS = 6 * 3600
RETRY_SECONDS = 1800

#: A line of edge.users. A password in clear would do for nginx, and for whoever reads the file.
_HASHED = re.compile(r"[^:]+:(?:\$|\{SSHA\}).+")

Asked = Callable[[Settings, EdgeFolder, tuple[str, ...]], Pair]


@dataclass(frozen=True)
class Sources:
    """The user's files, as the target that starts the stack hands them over; else as the settings name them."""

    certificate: Path | None = None
    key: Path | None = None
    users: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of the certificate."""

    pair: Pair
    done: Literal["kept", "made", "taken", "renewed", "waiting"]
    #: What a person should know, e.g. that it is not for one of the names.
    warnings: tuple[str, ...] = ()


def names(settings: Settings) -> tuple[str, ...]:
    """All host names that the certificate has to be for."""
    edge = settings.edge
    shown = [edge.webui_name] if edge.webui_name else []
    shown += [f"{dashboard}.{edge.names[0]}" for dashboard in edge.expose]
    return tuple(dict.fromkeys((*site.names(settings), *shown)))


def prepare(settings: Settings, folder: EdgeFolder, sources: Sources, now: datetime) -> Outcome:
    """Before nginx starts: whatever it reads is there. Nobody is asked for anything, so this works without a network.

    Raises:
        ConfigError: the user's own certificate or users cannot be used.
    """
    _open(settings, folder, sources)
    if settings.edge.tls == "files":
        return _taken(settings, folder, sources, now)
    found, wanted = folder.certificate(), names(settings)
    if settings.edge.tls == "acme" and found and not found.is_self_signed and found.ends > now:
        return Outcome(found, "kept")
    if settings.edge.tls == "self-signed" and found and found.is_self_signed and found.due(now) > now and not _lacks(found, wanted):
        return Outcome(found, "kept")
    made = self_signed(wanted, now)
    folder.use(made)
    return Outcome(made, "waiting" if settings.edge.tls == "acme" else "made")


def renew(settings: Settings, folder: EdgeFolder, sources: Sources, now: datetime, *, ask: Asked, force: bool = False) -> Outcome:
    """What a timer calls: a certificate that is due, self-signed or not for all names is replaced.

    Raises:
        ConfigError: as `prepare`.
        Unhealthy: the certificate authority does not answer, or refuses.
    """
    if settings.edge.tls == "self-signed" and force:
        _open(settings, folder, sources)
        folder.use(made := self_signed(names(settings), now))
        return Outcome(made, "made")
    if settings.edge.tls != "acme":
        return prepare(settings, folder, sources, now)
    _open(settings, folder, sources)
    found, wanted = folder.certificate(), _public(names(settings))
    if found and not force and not found.is_self_signed and found.due(now) > now and not _lacks(found, wanted):
        return Outcome(found, "kept")
    pair = ask(settings, folder, wanted)
    folder.use(pair)
    return Outcome(pair, "renewed")


def measure(outcome: Outcome) -> None:
    """Tell Prometheus until when the certificate is good."""
    measures.leave("certificate", {"freehold_certificate_expiry_timestamp_seconds": outcome.pair.ends.timestamp()})


async def keep(settings: Settings, folder: EdgeFolder, sources: Sources, *, ask: Asked) -> None:
    """Renew for ever; a failure is logged and tried again later, as the certificate that is in use goes on working."""
    while True:
        pause = LOOK_SECONDS
        try:
            outcome = await asyncio.to_thread(renew, settings, folder, sources, datetime.now(UTC), ask=ask)
            measure(outcome)
            log.info(
                "the certificate is %s until %s", outcome.done, outcome.pair.ends.date(), extra={"action": f"certificate_{outcome.done}"}
            )
        except FreeholdError as error:
            log.warning("the certificate was not renewed: %s", error, extra={"action": "certificate_failed"})
            pause = RETRY_SECONDS
        await asyncio.sleep(pause)


def _open(settings: Settings, folder: EdgeFolder, sources: Sources) -> None:
    """The folder, with the users as their file has them now."""
    folder.prepare()
    if settings.edge.auth == "basic":
        folder.use_users(_users(sources.users or settings.edge.users))


def _taken(settings: Settings, folder: EdgeFolder, sources: Sources, now: datetime) -> Outcome:
    certificate, key = sources.certificate or settings.edge.certificate, sources.key or settings.edge.key
    assert certificate and key, "config/load.py demands both"
    pair = read(_bytes(certificate), _bytes(key))
    warnings = check(pair, names(settings), now)
    before = folder.certificate()
    if before and before.pem == pair.pem:
        return Outcome(pair, "kept", tuple(warnings))
    folder.use(pair)
    return Outcome(pair, "taken", tuple(warnings))


def _users(path: Path | None) -> str:
    assert path, "config/load.py demands it"
    text = _bytes(path).decode(errors="replace")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines or not all(_HASHED.match(line) for line in lines):
        raise ConfigError(f"{path}: expected lines `name:hash`, and no password in clear", hint=f"`freehold edge user NAME --file {path}`")
    return "\n".join(lines) + "\n"


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error


def _lacks(pair: Pair, wanted: tuple[str, ...]) -> bool:
    return any(not pair.covers(name) for name in wanted)


def _public(wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Names that an authority can know; `localhost` is none, and an address is none either."""
    return tuple(name for name in wanted if "." in name and not name.replace(".", "").isdigit())
