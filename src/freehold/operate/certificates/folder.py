"""What nginx reads beside its configuration, in the folder of the volume "edge": certificate, passwords, challenges.

    certificate.pem   chain and key, replaced in one step; nginx reads it anew within a minute
    certificate.crt   the chain alone, for clients that are to trust it
    users             names and hashed passwords, where edge.auth is "basic"
    challenges/       what a certificate authority asks for, under /.well-known/acme-challenge/
    account.json      our account with the authority

As root, nginx works as another user, who reads these through the group of the folder.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from freehold.core.errors import ConfigError
from freehold.operate.certificates.pair import Pair, read
from freehold.targets.native.programs import SERVICE_USER

_CHALLENGES = (".well-known", "acme-challenge")


@dataclass(frozen=True)
class EdgeFolder:
    """Reads and writes there."""

    path: Path

    def prepare(self) -> None:
        """Make what is missing, for the user of nginx too."""
        for folder in (self.path, self.path / "challenges", *self._challenge_folders()):
            folder.mkdir(mode=0o700, exist_ok=True)
            _share(folder, 0o750)

    def certificate(self) -> Pair | None:
        """The pair that is in use; None where there is none, or what is there is none."""
        try:
            text = (self.path / "certificate.pem").read_bytes()
            return read(text, text)
        except (FileNotFoundError, ConfigError):
            return None

    def use(self, pair: Pair) -> None:
        self._write("certificate.pem", pair.pem)
        self._write("certificate.crt", pair.certificates)

    def use_users(self, text: str) -> None:
        self._write("users", text)

    def challenge(self, token: str) -> Path:
        """Where the answer to a challenge lies; the name comes from the authority, so it is checked."""
        if not token.replace("-", "").replace("_", "").isalnum() or not token.isascii():
            raise ConfigError("the certificate authority sent a challenge that is no name of a file")
        return self.path.joinpath("challenges", *_CHALLENGES, token)

    def answer_challenge(self, token: str, text: str) -> None:
        path = self.challenge(token)
        path.write_text(text, encoding="utf-8")
        _share(path, 0o640)

    @property
    def account(self) -> Path:
        return self.path / "account.json"

    def save_account(self, text: str) -> None:
        self._write("account.json", text, shared=False)

    def _challenge_folders(self) -> tuple[Path, ...]:
        first = self.path / "challenges" / _CHALLENGES[0]
        return first, first / _CHALLENGES[1]

    def _write(self, name: str, text: str, *, shared: bool = True) -> None:
        partial = self.path / f".{name}.{token_hex(4)}.new"
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(handle)
            if shared:
                _share(partial, 0o640)
            partial.replace(self.path / name)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def _share(path: Path, mode: int) -> None:
    """With the user that nginx works as where root runs the stack; else it stays private to the one user there is."""
    if os.getuid() != 0:
        return
    try:
        group = pwd.getpwnam(SERVICE_USER).pw_gid
    except KeyError:  # no such user in a container, where nginx is started as whoever this is
        return
    os.chown(path, -1, group)
    path.chmod(mode)
