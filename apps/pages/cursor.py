"""Pages of a long table by cursor: each is a range of the primary key, so page 1,000 costs no more than page 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.db.models import Model, QuerySet
from django.http import QueryDict

MAX_DIGITS: Final = 18  # enough for any id, and too few to overflow the database's integer


@dataclass(frozen=True, slots=True)
class CursorPage[M: Model]:
    """Some rows in order of id, and the cursors of the next and the previous page, if there are any."""

    items: list[M]
    next: int | None
    previous: int | None


def _parse_cursor(text: str | None) -> int | None:
    """Return the id in a query parameter; None if it is missing or invalid, which shows the first page."""
    return int(text) if text and len(text) <= MAX_DIGITS and text.isascii() and text.isdigit() else None


def cursor_page[M: Model](
    rows: QuerySet[M], size: int, *, after: int | None = None, before: int | None = None
) -> CursorPage[M]:
    """Return the ``size`` rows after the id ``after``, or before the id ``before``; without either, the first ones.

    One query: it reads one row more than it returns, to know whether there are more. A page that is reached by a
    cursor always links back to where it was reached from.
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


def requested_page[M: Model](rows: QuerySet[M], size: int, params: QueryDict, prefix: str = "") -> CursorPage[M]:
    """Return the page that the query parameters ``after`` and ``before`` ask for; ``prefix`` begins their names."""
    return cursor_page(
        rows,
        size,
        after=_parse_cursor(params.get(f"{prefix}after")),
        before=_parse_cursor(params.get(f"{prefix}before")),
    )
