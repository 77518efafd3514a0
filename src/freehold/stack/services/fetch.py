"""Fetches models into the volume that model servers read: the only one of them that may speak to the internet. Containers only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from freehold.stack.service import Service, Volume

NAME = "fetch"
VOLUME = Volume("models", "models, which can be fetched again")


def service(models: Iterable[str]) -> Service:
    """`models`: catalogue ids, each once."""
    return Service(
        name=NAME,
        kind="task",
        program="freehold",
        args=("models", "pull", *models),
        env={"FREEHOLD_CACHE": "${data:models}"},
        volumes=(VOLUME,),
        restarts=False,
        networks=("out",),
        about="fetches models once; gigabytes, so the first start takes a while",
    )


def readers(services: Iterable[Service]) -> Iterator[Service]:
    """The same services, where those that read models wait until they are there."""
    for one in services:
        reads = any("${model}" in text for text in (*one.args, *one.env.values())) or one.name in ("server", "worker")
        yield replace(one, needs=(*one.needs, NAME)) if reads else one
