"""The state folder of a native stack (`.freehold`): where each thing lies, and making it without touching what is not ours."""

from __future__ import annotations

import fcntl
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from freehold.core.errors import ConfigError, NotConfigured
from freehold.targets.native.process import Rendered

#: Lies in every state folder. One without it is somebody's own: nothing is written or deleted there, however alike the names are.
MARKER = ".freehold-state"
_MARKER_TEXT = "The state of a Freehold stack lies in this folder. `freehold reset` deletes it.\n"


@dataclass(frozen=True)
class Home:
    """Paths inside a state folder."""

    path: Path

    @property
    def stack_file(self) -> Path:
        return self.path / "native" / "stack.json"

    @property
    def processes_file(self) -> Path:
        """Pids and start times of what runs, so that leftovers of a crash are recognised."""
        return self.path / "native" / "processes.json"

    @property
    def lock_file(self) -> Path:
        """Held by the supervisor as long as it lives; holds its pid, for people."""
        return self.path / "native" / "supervisor.lock"

    @property
    def start_lock(self) -> Path:
        """Held by a command while it starts the stack."""
        return self.path / "native" / "start.lock"

    @property
    def metrics(self) -> Path:
        """Where workers leave their metrics for the server to show; emptied at each start, as counters begin anew."""
        return self.path / "metrics"

    @property
    def secrets(self) -> Path:
        return self.path / "secrets"

    @property
    def backups(self) -> Path:
        """Databases as they were before upgrades."""
        return self.path / "backups"

    @property
    def upgrade_file(self) -> Path:
        """There while an upgrade is under way, or was interrupted."""
        return self.path / "native" / "upgrade.json"

    @property
    def options_file(self) -> Path:
        """Options of the `freehold up` that started the stack, so that an upgrade starts it likewise."""
        return self.path / "native" / "options.json"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def create(self) -> None:
        """Make the folders that are missing, private to this user; existing ones are left as they are.

        Raises:
            ConfigError: a folder belongs to somebody else, cannot be made, or has things in it that are no stack's.
        """
        _make(self.path)
        # Read once: another command that makes it at this very moment writes its marker first.
        found = {entry.name for entry in self.path.iterdir()}
        if not found:
            (self.path / MARKER).write_text(_MARKER_TEXT, encoding="utf-8")
        elif MARKER not in found:
            raise self._not_ours()
        for folder in (self.path / "native", self.path / "files", self.path / "data", self.secrets, self.logs):
            _make(folder)

    @property
    def is_ours(self) -> bool:
        """Whether a stack made this folder its own."""
        return (self.path / MARKER).is_file()

    def require_ours(self) -> None:
        """Raises:
        ConfigError: no stack made it its own, so nothing in it may be deleted.
        """
        if not self.is_ours:
            raise self._not_ours()
        self.require_own()

    def require_own(self) -> None:
        """What lies here names programs to start and processes to end: it is followed for the user who wrote it alone, and not for
        root either, whom that user could have do anything.

        Raises:
            ConfigError: the folder belongs to somebody else.
        """
        if self.path.exists() and (owner := self.path.stat().st_uid) != os.getuid():
            raise ConfigError(
                f"{self.path} belongs to user id {owner}", hint="use the account that started this stack, e.g. `sudo -u NAME …`"
            )

    def _not_ours(self) -> ConfigError:
        return ConfigError(
            f"{self.path} is not the state folder of a stack, and has other things in it",
            hint=f"set FREEHOLD_HOME to a new or empty folder, e.g. {self.path / '.freehold'}",
        )

    def is_running(self) -> bool:
        """Whether a supervisor holds this folder. True even while it is starting or stopping."""
        try:
            handle = os.open(self.lock_file, os.O_RDONLY)
        except FileNotFoundError:
            return False
        except PermissionError as error:
            raise ConfigError(f"{self.lock_file} belongs to another user", hint="use the account that started this stack") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    def signal_supervisor(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor, if one runs; the lock it holds proves that the pid is still its own."""
        self.require_own()
        if self.is_running() and (pid := self.lock_file.read_text().strip()).isdigit():
            with suppress(ProcessLookupError):
                os.kill(int(pid), number)

    def rendered(self) -> Rendered:
        """The stack that was started last.

        Raises:
            NotConfigured: none was ever started here, or its file is of another version.
        """
        self.require_own()
        try:
            return Rendered.from_json(self.stack_file.read_bytes())
        except FileNotFoundError:
            raise NotConfigured(f"no stack was started in {self.path}", hint="start one with `freehold up`") from None
        except ValueError as error:
            raise NotConfigured(f"{self.stack_file} was written by another version", hint="`freehold up` writes it anew") from error


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        _check_ours(folder)
    except PermissionError as error:
        raise ConfigError(f"{folder} cannot be made: {error.strerror}", hint="set FREEHOLD_HOME to a folder of your own") from error


def _check_ours(folder: Path) -> None:
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder", hint="move it away, or set FREEHOLD_HOME to another folder")
    owner = folder.stat().st_uid
    if owner != os.getuid():
        raise ConfigError(
            f"{folder} belongs to user id {owner}, and you are {os.getuid()}",
            hint="use the account that made it, or set FREEHOLD_HOME to a folder of your own",
        )
