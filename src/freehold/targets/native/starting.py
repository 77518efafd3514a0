"""One start of a folder at a time: two that begin together would both find no supervisor, and end each other's services."""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path
from types import TracebackType

from freehold.core.progress import Progress

#: How often a start that waits looks whether it is its turn.
_INTERVAL = 0.2


class StartLock:
    """Held from looking for a running supervisor until the own one answers; the system gives it back however its holder ends."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._handle: int | None = None

    def __enter__(self) -> StartLock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    def take(self) -> bool:
        """Whether it is ours now; does not wait."""
        if self._handle is not None:
            return True
        handle = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self._handle = handle
        return True

    async def wait(self, progress: Progress) -> None:
        """Wait until it is ours, and say so where that takes time."""
        if self.take():
            return
        progress.say("another command is starting the stack of this folder; waiting for it")
        while not self.take():  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(_INTERVAL)

    def release(self) -> None:
        """Let the next one in."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
