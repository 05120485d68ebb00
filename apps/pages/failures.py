"""The failed items of a run: by reason, and page by page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from django.db.models import Count, Q, QuerySet

from apps.progress.models import ItemFailure, Run, UnlistedFailures

REASON_PARAMETER: Final = "failures_reason"
SEARCH_PARAMETER: Final = "failures_search"
# Reasons that are shown by themselves; a reason may have numbers in it, so there may be many.
MOST_REASONS: Final = 12


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """How many items failed for a reason. An empty reason: for all others."""

    reason: str
    count: int

    @property
    def figure(self) -> str:
        return f"{self.count:,}"

    @property
    def query(self) -> str:
        """The query string that asks for the items of this reason alone."""
        return failures_query(self.reason)


def failures_query(reason: str = "", search: str = "") -> str:
    """Return the query string that asks for the failed items of a reason, or with a text in them, alone."""
    params = {"tab": "failures", REASON_PARAMETER: reason, SEARCH_PARAMETER: search}
    return urlencode({name: value for name, value in params.items() if value})


def matching(run: Run, reason: str, search: str) -> QuerySet[ItemFailure]:
    """Return the failed items of a run, all or those of a reason alone, or with a text in the item or the reason."""
    failures = ItemFailure.objects.filter(run=run)
    if reason:
        failures = failures.filter(reason=reason)
    if search:
        failures = failures.filter(Q(item__icontains=search) | Q(reason__icontains=search))
    return failures


def count_reasons(run: Run, unlisted: Sequence[UnlistedFailures]) -> list[ReasonCount]:
    """Count the failed items of a run by reason, the most frequent first. Empty where they have one reason at most."""
    listed = ItemFailure.objects.filter(run=run).order_by().values_list("reason").annotate(count=Count("pk"))
    counts = Counter(dict(listed))
    for failures in unlisted:
        counts[failures.reason] += failures.count
    if len(counts) < 2:
        return []
    first = [ReasonCount(reason, count) for reason, count in counts.most_common(MOST_REASONS)]
    rest = counts.total() - sum(group.count for group in first)
    return [*first, ReasonCount("", rest)] if rest else first
