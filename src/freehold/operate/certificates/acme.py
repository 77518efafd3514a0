"""Asks a certificate authority (ACME, RFC 8555) for a certificate. Its challenge is answered by nginx over HTTP, from a file."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import requests
from acme import challenges, client, errors, messages
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from freehold.config.settings import Settings
from freehold.core.errors import ConfigError, Unhealthy
from freehold.operate.certificates.folder import EdgeFolder
from freehold.operate.certificates.pair import Pair, new_key, read, signing_request

#: Seconds that the authority may take to look at the challenges and to sign.
PATIENCE_SECONDS = 120
ANSWER_SECONDS = 30


def ask(settings: Settings, folder: EdgeFolder, names: tuple[str, ...]) -> Pair:
    """A new certificate with a new key for these names.

    Raises:
        ConfigError: there is no name that an authority can know.
        Unhealthy: the authority does not answer, or does not give one; the message says why.
    """
    if not names:
        raise ConfigError("edge.names: no name here that a certificate authority can know")
    edge = settings.edge
    try:
        authority = _authority(folder, edge.acme_directory, str(edge.acme_authority) if edge.acme_authority else None)
        _enter(authority, edge.acme_email)
        return _ordered(authority, folder, names)
    except errors.ValidationError as error:
        raise Unhealthy(
            f"the certificate authority could not reach this machine under its names: {_reasons(error)}",
            hint=f"every name has to lead here, port 80 of it to edge.redirect_port: {', '.join(names)}",
        ) from error
    except (errors.Error, messages.Error) as error:
        raise Unhealthy(f"the certificate authority at {edge.acme_directory} refused: {error}") from error
    except requests.RequestException as error:
        raise Unhealthy(f"the certificate authority at {edge.acme_directory} does not answer: {type(error).__name__}") from error


def _authority(folder: EdgeFolder, directory: str, bundle: str | None) -> client.ClientV2:
    net = client.ClientNetwork(_account_key(folder), alg=ES256, user_agent="freehold", timeout=ANSWER_SECONDS)
    if bundle:
        net.verify_ssl = bundle  # type: ignore[assignment] # requests takes a path too
    return client.ClientV2(client.ClientV2.get_directory(directory, net), net)


def _account_key(folder: EdgeFolder) -> JWKEC:
    """The key our account is known by, made at first use."""
    try:
        kept = JWKEC.from_json(json.loads(folder.account.read_text(encoding="utf-8")))
        assert isinstance(kept, JWKEC), "made below"
        return kept
    except FileNotFoundError:
        made = JWKEC(key=ec.generate_private_key(ec.SECP256R1()))
        folder.save_account(made.json_dumps())
        return made


def _enter(authority: client.ClientV2, email: str | None) -> None:
    """Our account there; made where there is none yet."""
    wanted = messages.NewRegistration.from_data(email=email, terms_of_service_agreed=True)
    try:
        authority.new_account(wanted)
    except errors.ConflictError as known:
        authority.net.account = messages.RegistrationResource(body=messages.Registration(), uri=known.location)


def _ordered(authority: client.ClientV2, folder: EdgeFolder, names: tuple[str, ...]) -> Pair:
    key = new_key()
    order = authority.new_order(signing_request(key, names))
    answered = [_answer(authority, folder, one) for one in order.authorizations if one.body.status != messages.STATUS_VALID]
    try:
        # The library compares with its own clock, which has no zone.
        done = authority.poll_and_finalize(order, datetime.now() + timedelta(seconds=PATIENCE_SECONDS))
    finally:
        for token in answered:
            folder.challenge(token).unlink(missing_ok=True)
    return read(done.fullchain_pem.encode(), key)


def _answer(authority: client.ClientV2, folder: EdgeFolder, authorization: messages.AuthorizationResource) -> str:
    """Put the answer where the authority looks for it, and tell it to look. Returns the name of the file."""
    offered = next((one for one in authorization.body.challenges if isinstance(one.chall, challenges.HTTP01)), None)
    if offered is None:
        raise errors.ClientError(f"no HTTP challenge for {authorization.body.identifier.value}")
    token = str(offered.chall.encode("token"))
    folder.answer_challenge(token, offered.chall.validation(authority.net.key))
    authority.answer_challenge(offered, offered.response(authority.net.key))
    return token


def _reasons(error: errors.ValidationError) -> str:
    found = []
    for authorization in error.failed_authzrs:
        details = [str(one.error.detail) for one in authorization.body.challenges if one.error]
        found.append(f"{authorization.body.identifier.value}: {'; '.join(details) or 'no reason given'}")
    return ", ".join(found)
