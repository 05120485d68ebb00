"""Pages of a table of any size: the rows are counted up to a bound, so that a page costs no look at all of them."""

from __future__ import annotations

from typing import Any, Final

from django.core.paginator import Paginator
from django.utils.functional import cached_property

MOST_COUNTED: Final = 10_000


class BoundedPaginator(Paginator[Any]):
    """Counts at most `MOST_COUNTED` rows. Those beyond are on no page: they are found by a filter or a search."""

    @cached_property
    def counted(self) -> int:
        """How many rows there are, counted up to one more than are shown. Set it where that is known already."""
        rows: Any = self.object_list
        return int(rows.order_by()[: MOST_COUNTED + 1].count())

    @cached_property
    def count(self) -> int:
        return min(self.counted, MOST_COUNTED)

    @property
    def has_more(self) -> bool:
        """Whether there are rows on no page."""
        return self.counted > MOST_COUNTED
