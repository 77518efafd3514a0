"""Asks a certificate authority (ACME, RFC 8555) for a certificate. Its challenge is answered by nginx over HTTP, from a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from freehold.config.settings import Settings
from freehold.core.errors import NotConfigured
from freehold.operate.certificates.folder import EdgeFolder
from freehold.operate.certificates.pair import Pair

if TYPE_CHECKING:
    pass


def ask(settings: Settings, folder: EdgeFolder, names: tuple[str, ...]) -> Pair:
    raise NotConfigured("not yet")
