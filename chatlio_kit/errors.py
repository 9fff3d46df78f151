"""All errors of chatlio_kit, as one tree.

ChatlioKitError
├── UsageError                 an argument or option is invalid (exit code 2)
│   ├── MissingPath            a path does not exist
│   └── ProductionSandbox      a production sandbox would change without permission
├── SettingsError              a setting is missing or malformed
├── CaptureError               nothing could be read
├── ClusterError               a cluster cannot be used, or its workers could not do their work
├── OutputError                a result could not be written
├── FrameError                 an edited frame no longer fits its schema
├── LedgerError                the ledger cannot be used
│   └── LedgerBusy             another backfill is running on it
├── ConnectionIncomplete       the Chatlio connection is missing or incomplete
└── PlatformError              Experience Platform refused a call or did not answer
    ├── Unreachable            no answer
    ├── AuthenticationFailed   the credential was refused
    ├── PermissionMissing      the credential may not do this
    ├── NotFound               the object does not exist
    ├── Conflict               the object changed, or its name is taken
    ├── RateLimited            too many requests
    └── Unavailable            the platform failed temporarily

Every message names the problem, the input and the next step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

DONE, FAILED, INCOMPLETE, UNCONFIRMED = 0, 1, 3, 4
"""Exit codes: everything landed; failure; some records rejected or dead-lettered; landing unconfirmed."""

_face = {"is_prompt": False}


@contextmanager
def spoken_at_the_prompt() -> Iterator[None]:
    """Word messages for the command line within the block; elsewhere they are worded for Python."""
    before = _face["is_prompt"]
    _face["is_prompt"] = True
    try:
        yield
    finally:
        _face["is_prompt"] = before


def in_words(at_the_prompt: str, in_python: str) -> str:
    """Return the wording for the interface in use: the command line or Python."""
    return at_the_prompt if _face["is_prompt"] else in_python


def option(name: str, value: str = "") -> str:
    """Return a parameter as users write it: ``undated_as=`` in Python, ``--undated-as`` on the command line.

    Args:
        name: Parameter name in Python.
        value: Value in Python; ``True`` means a flag, which takes no value on the command line.
    """
    flag = f"--{name.replace('_', '-')}"
    return in_words(flag if value in ("", "True") else f"{flag} {value}", f"{name}={value}")


def quoted(argument: object) -> str:
    """Return an argument as it is typed on the command line: in quotes if it has a space."""
    return f'"{argument}"' if " " in str(argument) else str(argument)


class ChatlioKitError(Exception):
    """Base class of all chatlio_kit errors; a notebook shows the message without a traceback."""

    exit_code = 1

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class UsageError(ChatlioKitError):
    """An argument or option is invalid."""

    exit_code = 2


class MissingPath(UsageError):
    """A path does not exist."""


class UnreadableRows(UserWarning):
    """Some rows of the dataset could not be read and are missing from the result."""


class ProductionSandbox(UsageError):
    """A production sandbox would change without permission."""


class SettingsError(ChatlioKitError):
    """A setting is missing or malformed."""


class CaptureError(ChatlioKitError):
    """Nothing could be read from the captures."""


class ClusterError(ChatlioKitError):
    """A cluster cannot be used, or its workers could not do their work."""


class OutputError(ChatlioKitError):
    """A result could not be written."""


class FrameError(ChatlioKitError):
    """An edited frame no longer fits its schema."""


class LedgerError(ChatlioKitError):
    """The ledger cannot be used."""


class LedgerBusy(LedgerError):
    """Another backfill is running on this ledger."""


class ConnectionIncomplete(ChatlioKitError):
    """The Chatlio connection is missing or incomplete."""


class TooEarly(ChatlioKitError):
    """A lesson needs something that a later lesson creates."""


class NothingAccepted(ChatlioKitError):
    """Captures were read, and every record was rejected."""


class PlatformError(ChatlioKitError):
    """Experience Platform refused a call or did not answer.

    Attributes:
        service: API that was called, e.g. ``Flow Service``.
        operation: Attempted operation, e.g. ``create the dataflow``.
        status: HTTP status; None if there was no response.
        code: The service's error code, e.g. ``FLOW-2118-403``, or None.
        request_id: The platform's request id, or None.
        reason: The platform's explanation.
        advice: Next step.
    """

    def __init__(
        self,
        service: str,
        operation: str,
        reason: str,
        *,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        advice: str = "",
    ) -> None:
        self.service = service
        self.operation = operation
        self.reason = reason
        self.status = status
        self.code = code
        self.request_id = request_id
        self.advice = advice
        super().__init__(str(self))

    def __str__(self) -> str:
        status = f"HTTP {self.status}" if self.status else None
        request = f"request {self.request_id}" if self.request_id else None
        known = ", ".join(detail for detail in (status, self.code, request) if detail)
        sentence = f"{self.service} could not {self.operation}: {self.reason.rstrip('.')}"
        sentence += f" ({known})." if known else "."
        return f"{sentence} {self.advice}".rstrip()


class Unreachable(PlatformError):
    """The platform did not respond."""


class AuthenticationFailed(PlatformError):
    """The credential was refused."""


class PermissionMissing(PlatformError):
    """The credential lacks a permission."""


class NotFound(PlatformError):
    """The object does not exist."""


class Conflict(PlatformError):
    """The object has changed in the meantime, or its name is taken."""


class RateLimited(PlatformError):
    """Too many requests."""


class Unavailable(PlatformError):
    """The platform failed temporarily."""
