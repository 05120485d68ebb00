"""Pages of a long table by cursor: each is one range of the primary key, so page 1,000 costs what page 1 costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.db.models import Model, QuerySet

LONGEST: Final = 18  # digits: more than any id has, and fewer than what a database takes for one


@dataclass(frozen=True, slots=True)
class CursorPage[M: Model]:
    """Some rows in order of id. ``next`` and ``previous`` are the cursors of its neighbours, None for none."""

    items: list[M]
    next: int | None
    previous: int | None


def parse_cursor(text: str | None) -> int | None:
    """The id in an address; None where there is none or it is garbage, which shows the first page."""
    return int(text) if text and len(text) <= LONGEST and text.isascii() and text.isdigit() else None


def cursor_page[M: Model](
    rows: QuerySet[M], size: int, *, after: int | None = None, before: int | None = None
) -> CursorPage[M]:
    """The ``size`` rows behind the id ``after``, or those in front of ``before``; the first ones without either.

    One query. It reads one row more than it shows, to know whether there are more. A page reached by a cursor always
    has a neighbour on the side it was reached from.
    """
    if before is not None and after is None:
        found = list(rows.filter(pk__lt=before).order_by("-pk")[: size + 1])
        more, items = len(found) > size, found[:size][::-1]
        if not items:
            return cursor_page(rows, size)
        return CursorPage(items, next=items[-1].pk, previous=items[0].pk if more else None)
    if after is not None:
        rows = rows.filter(pk__gt=after)
    found = list(rows.order_by("pk")[: size + 1])
    more, items = len(found) > size, found[:size]
    previous = None if after is None else items[0].pk if items else after + 1
    return CursorPage(items, next=items[-1].pk if more else None, previous=previous)
