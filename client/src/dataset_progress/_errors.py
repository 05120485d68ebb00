"""The exceptions of this package.

ProgressError
├── Cancelled        someone cancelled the run; raised in the loop that reports
├── Refused          the server answered with an error
└── Unreachable      the server did not answer, or its answer is not one of Dataset Progress

Reporting raises `Cancelled` alone: any other failure to report is logged once and never reaches the job.
`watch` and the command line raise the others.
"""

from __future__ import annotations

from ._values import printable

__all__ = ["Cancelled", "ProgressError", "Refused", "Unreachable"]


class ProgressError(Exception):
    """Base class of the exceptions of this package. Their text may be printed: control characters are replaced."""

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class Cancelled(ProgressError):
    """The run was cancelled."""


class Refused(ProgressError):
    """The server answered with an error.

    ``status``: the HTTP status. ``code``: the API's stable code for the reason, "" if there is none. ``retry_after``:
    seconds to wait before the next request, 0 if the server did not say.
    """

    def __init__(self, status: int, code: str, detail: str, retry_after: float = 0.0) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.retry_after = retry_after


class Unreachable(ProgressError):
    """The server did not answer, or its answer is not one of Dataset Progress."""
