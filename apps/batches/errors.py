"""Why a caller is refused a batch. The bases are those of datasets, so whoever answers their refusals answers these.

AccessDenied
├── UnknownBatch        there is none, or the caller may not see it: the answers must not differ
├── UnknownMembers      datasets that do not exist, or that the caller may not see
└── NotAllowed          the caller may see the batch, and may not change it
    ├── BatchQuotaReached
    └── BatchFull
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from apps.datasets.access.errors import AccessDenied, NotAllowed

# Ids that one message names before it counts the rest.
MOST_NAMED: Final = 10


class UnknownBatch(AccessDenied):
    code = "not_found"

    def __init__(self) -> None:
        super().__init__("There is no such batch.")


class UnknownMembers(AccessDenied):
    code = "not_found"

    def __init__(self, dataset_ids: Sequence[str]) -> None:
        more = len(dataset_ids) - MOST_NAMED
        named = ", ".join(dataset_ids[:MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")
        super().__init__(f"There is no dataset {named}. Nothing was changed.")


class BatchQuotaReached(NotAllowed):
    code = "quota_reached"

    def __init__(self, quota: int) -> None:
        super().__init__(f"One user may own {quota:,} batches, and this one owns as many.")


class BatchFull(NotAllowed):
    code = "batch_full"

    def __init__(self, most: int) -> None:
        super().__init__(f"A batch may have {most:,} datasets.")
