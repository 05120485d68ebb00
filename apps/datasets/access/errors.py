"""Why a caller is refused a dataset. Each error has the ``code`` that the API answers with.

AccessDenied
├── UnknownDataset      there is none, or the caller may not see it: the answers must not differ
└── NotAllowed          the token does not cover it, or the caller may see it and may not do this
"""

from __future__ import annotations


class AccessDenied(Exception):
    """The base of all refusals; nothing was changed."""

    code = "access_denied"


class UnknownDataset(AccessDenied):
    code = "not_found"

    def __init__(self) -> None:
        super().__init__("There is no such dataset.")


class NotAllowed(AccessDenied):
    code = "forbidden"

    def __init__(self) -> None:
        super().__init__("You may not do this with this dataset.")
