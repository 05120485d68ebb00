"""Pages of what is listed in the order of its ids."""

from __future__ import annotations

from typing import Annotated

from django.db.models import Model, QuerySet
from ninja import Query

After = Annotated[str, Query(max_length=128, description="Those that follow this id.")]


def page_after[M: Model](rows: QuerySet[M], field: str, after: str, limit: int) -> tuple[list[M], str | None]:
    """Return up to ``limit`` rows whose id, which ``field`` holds, follows ``after``.

    And the ``after`` that asks for those that follow, None if none do.
    """
    rows = rows.order_by(field)
    if after := after.replace("\0", ""):  # which is in no id, and which PostgreSQL refuses
        rows = rows.filter(**{f"{field}__gt": after})
    page = list(rows[: limit + 1])
    return page[:limit], getattr(page[limit - 1], field) if page[limit:] else None
