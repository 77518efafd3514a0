"""A certificate from a real authority, over the real nginx: asked for, in use without a restart, renewed, refused."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from tests.support.edge import edge, free_ports
from tests.support.nginx import Nginx
from tests.support.pebble import Authority, authority

from freehold.config.settings import Settings
from freehold.core.errors import Unhealthy
from freehold.operate.certificates.acme import ask
from freehold.operate.certificates.folder import EdgeFolder
from freehold.operate.certificates.keep import Sources, renew

NAMES = ["agents.example.com", "www.agents.example.com"]


@dataclass(frozen=True)
class Place:
    nginx: Nginx
    authority: Authority
    settings: Settings
    folder: EdgeFolder


@pytest.fixture(scope="module")
def place(nginx_program: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    ports, folder = free_ports(), tmp_path_factory.mktemp("edge")
    with authority(tmp_path_factory.mktemp("authority"), http_port=ports["redirect"]) as given:
        section = {"tls": "acme", "names": NAMES, "acme_directory": given.directory, "acme_authority": str(given.bundle)}
        with edge(nginx_program, "http://127.0.0.1:9", folder, ports=ports, **section) as running:
            yield Place(running, given, Settings.model_validate({"edge": section}), EdgeFolder(folder))


def serial(place: Place) -> str:
    """Of the certificate that the edge shows to somebody who comes now."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    plain = socket.create_connection(("127.0.0.1", place.nginx.ports["https"]), timeout=30)
    with context.wrap_socket(plain, server_hostname=NAMES[0]) as connection:
        shown = connection.getpeercert(binary_form=True)
    assert shown
    return str(x509.load_der_x509_certificate(shown).serial_number)


def test_a_certificate_is_asked_for_and_renewed_when_it_is_due(place: Place) -> None:
    first = place.folder.certificate()
    assert first and first.is_self_signed  # what stood in
    now = datetime.now(UTC)
    given = renew(place.settings, place.folder, Sources(), now, ask=ask)
    assert given.done == "renewed" and not given.pair.is_self_signed
    assert set(given.pair.names) == set(NAMES)
    assert len(given.pair.chain) > 1
    assert renew(place.settings, place.folder, Sources(), now, ask=ask).done == "kept"
    later = given.pair.ends - timedelta(days=1)
    again = renew(place.settings, place.folder, Sources(), later, ask=ask)
    assert again.done == "renewed"
    assert again.pair.certificate.serial_number != given.pair.certificate.serial_number
    assert list((place.folder.path / "challenges" / ".well-known" / "acme-challenge").iterdir()) == []


def test_the_edge_shows_the_new_one_without_being_told(place: Place) -> None:
    before = serial(place)
    given = renew(place.settings, place.folder, Sources(), datetime.now(UTC), ask=ask, force=True)
    while (now := serial(place)) == before:  # within a minute
        time.sleep(0.2)
    assert now == str(given.pair.certificate.serial_number)


def test_an_authority_that_cannot_reach_us_says_so_and_nothing_changes(place: Place, tmp_path: Path) -> None:
    elsewhere = EdgeFolder(tmp_path)
    elsewhere.prepare()
    with pytest.raises(Unhealthy, match="could not reach this machine") as refused:
        renew(place.settings, elsewhere, Sources(), datetime.now(UTC), ask=ask)
    assert "agents.example.com" in str(refused.value)
    assert elsewhere.certificate() is None


def test_an_authority_that_is_away_is_named(place: Place, tmp_path: Path) -> None:
    folder = EdgeFolder(tmp_path)
    folder.prepare()
    gone = place.settings.model_copy(update={"edge": place.settings.edge.model_copy(update={"acme_directory": "https://127.0.0.1:9/dir"})})
    with pytest.raises(Unhealthy, match="does not answer"):
        renew(gone, folder, Sources(), datetime.now(UTC), ask=ask)
