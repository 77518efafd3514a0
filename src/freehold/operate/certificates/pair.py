"""A certificate with its key, as one value: read, checked and made. No file is touched here."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from freehold.core.errors import ConfigError

#: Browsers refuse longer ones of some authorities; ours is made anew when it is over.
SELF_SIGNED_DAYS = 397


@dataclass(frozen=True, repr=False)
class Pair:
    """A certificate, those between it and its authority, and the key that belongs to it."""

    chain: tuple[x509.Certificate, ...]
    key: bytes

    @property
    def certificate(self) -> x509.Certificate:
        return self.chain[0]

    @property
    def names(self) -> tuple[str, ...]:
        """Host names and addresses it is for."""
        try:
            found = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return ()
        addresses = [str(address) for address in found.get_values_for_type(x509.IPAddress)]
        return (*found.get_values_for_type(x509.DNSName), *addresses)

    @property
    def ends(self) -> datetime:
        return self.certificate.not_valid_after_utc

    @property
    def is_self_signed(self) -> bool:
        return self.certificate.issuer == self.certificate.subject

    @property
    def certificates(self) -> str:
        """PEM of the chain, for those who are to trust it."""
        return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in self.chain)

    @property
    def pem(self) -> str:
        """Chain and key in one text, so that both are replaced in one step."""
        return self.certificates + self.key.decode()

    def covers(self, name: str) -> bool:
        """Whether it is for a host name; `*.example.com` is for one word before the dot."""
        wanted = name.strip("[]").lower()
        above = wanted.partition(".")[2]
        return any(own.lower() in (wanted, f"*.{above}" if above else wanted) for own in self.names)

    def due(self, now: datetime) -> datetime:
        """When it is to be renewed: with a third of its life left."""
        begins = self.certificate.not_valid_before_utc
        return self.ends - (self.ends - begins) / 3


def read(certificates: bytes, key: bytes) -> Pair:
    """A pair from PEM texts.

    Raises:
        ConfigError: one of them is no PEM, the key needs a password, or it belongs to another certificate.
    """
    try:
        chain = tuple(x509.load_pem_x509_certificates(certificates))
    except ValueError as error:
        raise ConfigError(f"edge.certificate: no certificate in PEM form: {error}") from error
    try:
        private = serialization.load_pem_private_key(key, password=None)
    except TypeError as error:
        raise ConfigError("edge.key: the key has a password", hint="`openssl pkey -in KEY -out KEY.plain` takes it off") from error
    except ValueError as error:
        raise ConfigError("edge.key: no private key in PEM form") from error
    if _public(private.public_key()) != _public(chain[0].public_key()):
        raise ConfigError("edge.key: this key does not belong to edge.certificate")
    return Pair(chain, _pem(private))


def check(pair: Pair, names: Iterable[str], now: datetime) -> list[str]:
    """What a person should know of a pair; empty where all is well.

    Raises:
        ConfigError: it is over, or begins later: no client would take it.
    """
    certificate = pair.certificate
    if certificate.not_valid_after_utc <= now:
        raise ConfigError(f"edge.certificate: it ended on {certificate.not_valid_after_utc:%Y-%m-%d}", hint="get a new one")
    if certificate.not_valid_before_utc > now:
        raise ConfigError(f"edge.certificate: it begins on {certificate.not_valid_before_utc:%Y-%m-%d}", hint="is the clock right?")
    missing = [name for name in names if not pair.covers(name)]
    found = [f"the certificate is not for {', '.join(missing)} but for {', '.join(pair.names) or 'nothing'}"] if missing else []
    if pair.ends - now < timedelta(days=14):
        found.append(f"the certificate ends on {pair.ends:%Y-%m-%d}")
    return found


def self_signed(names: Sequence[str], now: datetime) -> Pair:
    """A new key on the curve P-256 and a certificate that it signs itself, for these names alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Freehold, self-signed")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(own)
        .issuer_name(own)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks differ
        .not_valid_after(now + timedelta(days=SELF_SIGNED_DAYS))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Pair((builder.sign(key, hashes.SHA256()),), _pem(key))


def new_key() -> bytes:
    """PEM of a new key on the curve P-256."""
    return _pem(ec.generate_private_key(ec.SECP256R1()))


def signing_request(key: bytes, names: Sequence[str]) -> bytes:
    """PEM of what an authority is asked to sign."""
    private = serialization.load_pem_private_key(key, password=None)
    assert isinstance(private, ec.EllipticCurvePrivateKey), "made by new_key"
    subject = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    asked = subject.add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
    return asked.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _general_name(name: str) -> x509.GeneralName:
    bare = name.strip("[]")
    try:
        return x509.IPAddress(ipaddress.ip_address(bare))
    except ValueError:
        return x509.DNSName(bare)


def _pem(key: CertificateIssuerPrivateKeyTypes | object) -> bytes:
    assert hasattr(key, "private_bytes")
    done: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return done


def _public(key: object) -> bytes:
    assert hasattr(key, "public_bytes")
    done: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return done
