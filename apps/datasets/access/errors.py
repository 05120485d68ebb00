"""Why a caller is refused a dataset. Each error has the ``code`` that the API answers with.

AccessDenied
├── UnknownDataset      there is none, or the caller may not see it: the answers must not differ
└── NotAllowed          the token does not cover it, or the caller may see it or name it, and may not do this
    ├── MayNotAdd       the user may not add datasets
    ├── NameReserved    IDs that begin like this are a team's
    └── QuotaReached    the user owns as many datasets as one user may
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

    def __init__(self, message: str = "You may not change this dataset.") -> None:
        super().__init__(message)


class MayNotAdd(NotAllowed):
    code = "may_not_add"

    def __init__(self) -> None:
        super().__init__("Your account may not add datasets.")


class NameReserved(NotAllowed):
    code = "name_reserved"

    def __init__(self, prefix: str) -> None:
        super().__init__(f"IDs that begin with {prefix} are reserved for a team that you are not in.")


class QuotaReached(NotAllowed):
    code = "quota_reached"

    def __init__(self, quota: int) -> None:
        super().__init__(f"One user may own {quota:,} datasets, and this one owns as many.")
