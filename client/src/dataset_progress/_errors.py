"""What this package raises.

ProgressError
├── Cancelled        the people in charge have cancelled the run; raised in the loop, which it ends
├── Refused          the server answered, and said no
└── Unreachable      the server did not answer, or not as it should

Reporting raises `Cancelled` alone: what goes wrong on the way to the server is logged once and never reaches the job.
The others come from what asks: `watch` and the command line.
"""

from __future__ import annotations


class ProgressError(Exception):
    """The base of all of them."""


class Cancelled(ProgressError):
    """The run was cancelled."""


class Refused(ProgressError):
    """The server said no: ``status`` of HTTP, and ``code``, the API's word for the reason, empty where it has none.

    ``retry_after``: the seconds in which not to ask again, 0 where it did not say.
    """

    def __init__(self, status: int, code: str, detail: str, retry_after: float = 0.0) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.retry_after = retry_after


class Unreachable(ProgressError):
    """There was no answer, or none of this API's."""
