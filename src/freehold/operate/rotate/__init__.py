"""Gives a running stack other secrets, one after another: each user is restarted alone, and where one is not well, the old value returns.

Whoever was let in stays: a database role gets its new password by a statement of the superuser, who needs none of them; open
connections live on; a run whose worker restarts is given back and goes on. Workers rest while a model server has another key, so
that no call of theirs is refused.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from freehold.core.errors import Conflict, FreeholdError, NotFound, NotSupported, Unhealthy
from freehold.core.progress import Progress
from freehold.operate.rotate.site import Held, Site

#: Services whose clients would fail runs while they are away.
_MODELS = "model"
_WORKERS = "worker"


@dataclass(frozen=True)
class Rotated:
    """A secret that has another value, and what was restarted for it."""

    name: str
    restarted: tuple[str, ...]


async def rotate(site: Site, names: Sequence[str], progress: Progress) -> list[Rotated]:
    """Change these secrets, one after another.

    Raises:
        NotFound: the stack has no such secret.
        NotSupported: it was given by the user, or only the first value counts.
        Unhealthy: something was not well before, or did not become well; then the old value is back.
    """
    held = {secret.name: secret for secret in await site.held()}
    chosen = [_chosen(held, name) for name in names]
    await site.require_well()
    done = []
    for secret in chosen:
        groups = _groups(secret.users)
        with progress.step(f"{secret.name}: {secret.about}") as step:
            step.note(", ".join(secret.users))
            await _change(site, secret, groups, progress)
        done.append(Rotated(secret.name, tuple(name for group in groups for name in group)))
    return done


def can_change(secret: Held) -> bool:
    """Whether `rotate` takes it."""
    return secret.source == "generated" and not secret.lasting and secret.changed is not None


def _chosen(held: dict[str, Held], name: str) -> Held:
    if name not in held:
        raise NotFound(f'this stack has no secret "{name}"', hint=f"there are {', '.join(held)}")
    secret = held[name]
    if secret.source == "given":
        raise NotSupported(f"{name} comes from your settings", hint="change it there, then `freehold down` and `freehold up`")
    if secret.lasting:
        raise NotSupported(
            f"{name} counts at the first start alone, or encrypts what was stored since",
            hint="change passwords of people in that service itself",
        )
    if secret.changed is None:
        raise Conflict(f"{name} has no value yet", hint="`freehold up` makes it")
    return secret


def _groups(users: Sequence[str]) -> list[tuple[str, ...]]:
    """What restarts together, in order. Workers end before a model server does and start after it; everybody else goes alone."""
    models = [name for name in users if _is(name, _MODELS)]
    workers = [name for name in users if _is(name, _WORKERS)]
    others = [name for name in users if name not in (*models, *workers)]
    alone: Iterable[str] = (*others, *([] if models else workers))
    return [*([(*models, *workers)] if models else []), *((name,) for name in alone)]


def _is(process: str, service: str) -> bool:
    """Replicas and further ones are called "worker-2", "model-small"."""
    return process == service or process.startswith(f"{service}-")


async def _change(site: Site, secret: Held, groups: Sequence[tuple[str, ...]], progress: Progress) -> None:
    old, new = site.read(secret.name), secrets.token_urlsafe(32)
    restarted: list[tuple[str, ...]] = []
    try:
        await site.prepare(secret, old, new)
        await _put(site, secret, new)
        for group in groups:
            restarted.append(group)
            await site.restart(group)
    except (FreeholdError, asyncio.CancelledError, OSError) as error:
        progress.say(f"{secret.name}: the old value returns")
        await asyncio.shield(_take_back(site, secret, old, restarted))
        if isinstance(error, FreeholdError):
            raise Unhealthy(f"{secret.name} keeps its old value: {error.message}", hint=error.hint) from error
        raise
    await site.settle(secret, old)


async def _put(site: Site, secret: Held, value: str) -> None:
    """Whoever starts between the two steps is refused once and started again. A crash between them locks nobody out: each start of the
    stack gives roles the passwords that are written down."""
    if secret.role:
        await site.set_passwords({secret.role: value})
    site.write(secret.name, value)


async def _take_back(site: Site, secret: Held, old: str, restarted: Sequence[tuple[str, ...]]) -> None:
    new = site.read(secret.name)
    await _put(site, secret, old)
    for group in restarted:
        await site.restart(group)
    await site.settle(secret, new)
