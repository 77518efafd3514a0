"""The certificate of the edge: made, taken from files, checked, renewed when it is due."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from freehold.config.settings import Settings
from freehold.core.errors import ConfigError
from freehold.operate.certificates.folder import EdgeFolder
from freehold.operate.certificates.keep import Sources, names, prepare, renew
from freehold.operate.certificates.pair import Pair, new_key, self_signed

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def settings(**edge: Any) -> Settings:
    return Settings.model_validate({"edge": edge})


def folder(tmp_path: Path) -> EdgeFolder:
    return EdgeFolder(tmp_path / "edge")


def written(tmp_path: Path, pair: Pair) -> dict[str, str]:
    """Settings with a pair as the user's own files."""
    certificate, key = tmp_path / "own.crt", tmp_path / "own.key"
    certificate.write_text(pair.certificates)
    key.write_bytes(pair.key)
    return {"tls": "files", "certificate": str(certificate), "key": str(key)}


def nobody(*_: object) -> Pair:
    raise AssertionError("no authority is asked")


def test_the_first_start_makes_one_for_all_names_that_only_its_owner_can_read(tmp_path: Path) -> None:
    place = folder(tmp_path)
    made = prepare(settings(), place, Sources(), NOW)
    assert made.done == "made"
    assert set(made.pair.names) == {"localhost", "127.0.0.1", "::1"}
    assert isinstance(made.pair.certificate.public_key(), ec.EllipticCurvePublicKey)
    assert not (place.path / "certificate.pem").stat().st_mode & 0o007
    ssl.create_default_context(cafile=str(place.path / "certificate.crt"))
    assert b"PRIVATE" not in (place.path / "certificate.crt").read_bytes()


def test_it_is_kept_until_it_is_due_or_a_name_is_missing(tmp_path: Path) -> None:
    place = folder(tmp_path)
    first = prepare(settings(), place, Sources(), NOW).pair
    assert prepare(settings(), place, Sources(), NOW + timedelta(days=200)).done == "kept"
    named = prepare(settings(names=["agents.example.com"]), place, Sources(), NOW)
    assert named.done == "made" and named.pair.covers("agents.example.com")
    assert prepare(settings(), place, Sources(), NOW + timedelta(days=300)).done == "made"
    assert first.certificate.serial_number != named.pair.certificate.serial_number


def test_names_of_dashboards_and_of_open_webui_are_in_it() -> None:
    found = names(settings(host="0.0.0.0", names=["a.example.com"], webui_name="chat.example.com", expose=["grafana"]))
    assert found == ("a.example.com", "chat.example.com", "grafana.a.example.com")


def test_the_users_own_pair_is_taken_and_a_changed_one_too(tmp_path: Path) -> None:
    place = folder(tmp_path)
    own = written(tmp_path, self_signed(("agents.example.com", "localhost", "127.0.0.1", "::1"), NOW))
    told = settings(names=["agents.example.com"], **own)
    assert prepare(told, place, Sources(), NOW).done == "taken"
    assert renew(told, place, Sources(), NOW, ask=nobody).done == "kept"
    written(tmp_path, self_signed(("other.example.com",), NOW))
    changed = renew(told, place, Sources(), NOW, ask=nobody)
    assert changed.done == "taken"
    assert "not for agents.example.com" in changed.warnings[0]


PAIR = self_signed(("a.example.com",), NOW)


@pytest.mark.parametrize(
    ("certificate", "key", "when", "said"),
    [
        (PAIR.certificates, new_key(), NOW, "does not belong"),
        (PAIR.certificates, PAIR.key, NOW + timedelta(days=400), "it ended on 2027-12-23"),
        (PAIR.certificates, PAIR.key, NOW - timedelta(days=1), "it begins on 2026-11-21"),
        ("nothing", PAIR.key, NOW, "no certificate in PEM form"),
        (PAIR.certificates, b"nothing", NOW, "no private key in PEM form"),
    ],
    ids=["another key", "over", "not yet", "no certificate", "no key"],
)
def test_a_pair_that_no_client_would_take_is_refused_before_anything_starts(
    tmp_path: Path, certificate: str, key: bytes, when: datetime, said: str
) -> None:
    own = written(tmp_path, PAIR)
    (tmp_path / "own.crt").write_text(certificate)
    (tmp_path / "own.key").write_bytes(key)
    with pytest.raises(ConfigError, match=said):
        prepare(settings(**own), folder(tmp_path), Sources(), when)
    assert folder(tmp_path).certificate() is None


def test_until_an_authority_has_given_one_a_self_signed_one_stands_in(tmp_path: Path) -> None:
    told = settings(tls="acme", names=["agents.example.com"])
    assert prepare(told, folder(tmp_path), Sources(), NOW).done == "waiting"


def test_an_authority_is_asked_for_public_names_alone_and_only_when_it_is_due(tmp_path: Path) -> None:
    place, asked = folder(tmp_path), []

    def ask(_: Settings, __: EdgeFolder, wanted: tuple[str, ...]) -> Pair:
        asked.append(wanted)
        return given

    given = self_signed(("agents.example.com",), NOW)
    told = settings(tls="acme", names=["agents.example.com"])
    prepare(told, place, Sources(), NOW)
    assert renew(told, place, Sources(), NOW, ask=ask).done == "renewed"
    assert asked == [("agents.example.com",)]


@pytest.mark.parametrize("line", ["ada", "ada:password", "ada:{PLAIN}password", ""])
def test_passwords_in_clear_are_refused(tmp_path: Path, line: str) -> None:
    users = tmp_path / "users"
    users.write_text(f"{line}\n")
    with pytest.raises(ConfigError, match="no password in clear"):
        prepare(settings(auth="basic", users=str(users)), folder(tmp_path), Sources(), NOW)


def test_a_renewal_takes_over_changed_users_whatever_the_certificate_comes_from(tmp_path: Path) -> None:
    users, place = tmp_path / "users", folder(tmp_path)
    users.write_text("ada:{SSHA}one\n")
    given = self_signed(("agents.example.com",), NOW)
    for tls in ("self-signed", "acme"):
        told = settings(auth="basic", users=str(users), tls=tls, names=["agents.example.com"])
        renew(told, place, Sources(), NOW, ask=lambda *_: given)
        assert (place.path / "users").read_text() == users.read_text()
        users.write_text("bob:{SSHA}two\n")


def test_a_self_signed_one_is_made_anew_when_that_is_asked_for(tmp_path: Path) -> None:
    place = folder(tmp_path)
    first = prepare(settings(), place, Sources(), NOW).pair
    again = renew(settings(), place, Sources(), NOW, ask=nobody, force=True)
    assert again.done == "made" and again.pair.certificate.serial_number != first.certificate.serial_number


def test_a_challenge_with_a_path_in_its_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        folder(tmp_path).challenge("../../users")
