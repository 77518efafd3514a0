"""Every error Freehold raises on purpose, so callers can catch what they can name.

An error carries a code (stable, for machines), a cause (the message) and a hint (what to do next). The docstring of a
class is its default message. Only the HTTP edge maps these to status codes and only the command line to exit codes.

    FreeholdError
    ├── ConfigError           a setting, file or argument is wrong
    │   └── NotConfigured     something needed was never set
    ├── NotFound              the object does not exist, or belongs to somebody else
    ├── Conflict              the object is in a state that forbids this
    │   └── CheckpointsMoved  another process stored messages of this thread meanwhile
    ├── InvalidRequest        a request is well-formed but cannot be honoured
    │   ├── Ambiguous         it says two things that exclude each other
    │   └── NotSupported      known to the protocol, refused here by name
    ├── Unauthenticated       no valid credential
    │   └── InvalidToken      one that is malformed, not for us, or over
    ├── Forbidden             a valid credential without the right
    ├── QuotaExceeded         a valid credential that has used up its share for now
    ├── Unhealthy             a service is down or does not answer
    │   ├── StorageUnavailable
    │   └── ModelUnavailable
    ├── Incompatible          a version or platform that cannot work
    ├── OutOfSpace            the disk or memory does not suffice
    ├── DownloadError         something could not be fetched or its hash is wrong
    ├── GraphError            a user's graph does not load or compile
    ├── EncryptionFailed      the project's own encryption cannot seal or open something
    ├── LeaseLost             another worker owns this run now
    ├── RunFailed             a run ended in error
    └── TimedOut              waited long enough
"""

from __future__ import annotations

from typing import ClassVar


class FreeholdError(Exception):
    """Something went wrong in Freehold."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str | None = None, *, hint: str | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.hint = hint
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class ConfigError(FreeholdError):
    """The configuration is not valid."""

    code = "config"


class NotConfigured(ConfigError):
    """A needed setting is missing."""

    code = "not_configured"


class NotFound(FreeholdError):
    """No such object."""

    code = "not_found"


class Conflict(FreeholdError):
    """The object is in a state that forbids this."""

    code = "conflict"


class CheckpointsMoved(Conflict):
    """Another process stored messages of this thread meanwhile."""

    code = "checkpoints_moved"


class InvalidRequest(FreeholdError):
    """The request cannot be honoured."""

    code = "invalid_request"


class Ambiguous(InvalidRequest):
    """Two parts of the request exclude each other."""

    code = "ambiguous"


class NotSupported(InvalidRequest):
    """Known to the protocol, but not supported here."""

    code = "not_supported"


class Unauthenticated(FreeholdError):
    """No valid API key was given."""

    code = "unauthenticated"


class InvalidToken(Unauthenticated):
    """The token is not valid."""

    code = "invalid_token"


class Forbidden(FreeholdError):
    """This caller may not do that."""

    code = "forbidden"


class QuotaExceeded(FreeholdError):
    """The quota is used up.

    `retry_after_seconds`: when it is worth to try again.
    """

    code = "quota"

    def __init__(self, message: str | None = None, *, hint: str | None = None, retry_after_seconds: int = 1) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_seconds = retry_after_seconds


class Unhealthy(FreeholdError):
    """A service is not healthy."""

    code = "unhealthy"


class StorageUnavailable(Unhealthy):
    """The database does not answer."""

    code = "storage_unavailable"


class ModelUnavailable(Unhealthy):
    """The model server does not answer."""

    code = "model_unavailable"


class Incompatible(FreeholdError):
    """This version or platform cannot work."""

    code = "incompatible"


class OutOfSpace(FreeholdError):
    """There is not enough room."""

    code = "out_of_space"


class DownloadError(FreeholdError):
    """A download failed."""

    code = "download"


class GraphError(FreeholdError):
    """A graph could not be loaded."""

    code = "graph"


class EncryptionFailed(FreeholdError):
    """The project's own encryption cannot seal or open something."""

    code = "encryption_failed"


class LeaseLost(FreeholdError):
    """Another worker owns this run now."""

    code = "lease_lost"


class RunFailed(FreeholdError):
    """The run ended in error."""

    code = "run_failed"


class TimedOut(FreeholdError):
    """It took too long."""

    code = "timeout"
