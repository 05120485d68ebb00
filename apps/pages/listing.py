"""The list of datasets: its filters, its order, and one row for each dataset."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.core.paginator import Page
from django.db.models import Count, F, Q, QuerySet
from django.http import QueryDict
from django.utils import timezone
from django.utils.http import urlencode

from apps.core.paginator import BoundedPaginator
from apps.datasets.access.rules import Caller
from apps.datasets.models import Dataset
from apps.progress.groups import LABELS, PLACES, Group, group_of, with_places
from apps.progress.selectors import in_state, progress_of_many
from apps.progress.snapshot import DatasetProgress
from apps.progress.transitions import State

from .words import named

PAGE_SIZE: Final = 50
_ORDERS: Final = {
    "updated": ("-changed_at", "-pk"),
    "name": ("sort_name", "pk"),
    "state": ("state_order", "sort_name", "pk"),
    "created": ("-created_at", "-pk"),
}
SORTS: Final = {
    "group": "Group", "updated": "Last change", "name": "Name", "state": "State", "created": "Date created",
}  # fmt: skip
DEFAULT_SORT: Final = "group"
# A search looks for a part of a name or an ID in the datasets that changed last, this many of them. Where there are
# more, groups are neither counted nor put in order.
SEARCHED: Final = 10_000
# How many of the datasets that it finds are shown.
MOST_FOUND: Final = 1_000


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A search in names and IDs, a group or a state (None: all) and an order. Invalid values are ignored."""

    text: str
    state: State | Group | None
    sort: str

    @classmethod
    def parse(cls, params: QueryDict) -> ListQuery:
        sort = params.get("sort", "")
        return cls(
            text=params.get("q", "").replace("\0", "").strip()[:200],
            state=_parse_filter(params.get("state", "")),
            sort=sort if sort in SORTS else DEFAULT_SORT,
        )

    @property
    def is_narrowed(self) -> bool:
        return bool(self.text or self.state)

    def of(self, state: Group | None) -> ListQuery:
        """Return the same search in another group."""
        return replace(self, state=state)

    def address(self, page: int = 1) -> str:
        """Return the query string of ``page`` of this list, without the values that are the default."""
        params = {"q": self.text, "state": self.state or "", "sort": "" if self.sort == DEFAULT_SORT else self.sort}
        kept = {name: value for name, value in params.items() if value}
        if page > 1:
            kept["page"] = str(page)
        return f"?{urlencode(kept)}" if kept else "?"


def _parse_filter(word: str) -> State | Group | None:
    if word in list(Group):
        return Group(word)
    return State(word) if word in list(State) else None


@dataclass(frozen=True, slots=True)
class Row:
    """One dataset in the list. ``heading``: the group that begins with it; None where it goes on."""

    dataset: Dataset
    progress: DatasetProgress
    group: Group
    heading: str | None
    may_steer: bool

    @property
    def is_private(self) -> bool:
        return self.dataset.visibility == "private"

    @property
    def by(self) -> str:
        """Who paused or cancelled it, for those who may steer it; else empty."""
        is_held = self.group == Group.CANCELLED or (self.group == Group.PAUSED and self.progress.requested != "pause")
        return named(self.progress.requested_by) if self.may_steer and is_held else ""


@dataclass(frozen=True, slots=True)
class GroupCount:
    """A filter above the list: how many datasets a group has, and its address."""

    label: str
    count: int
    address: str
    is_current: bool

    @property
    def figure(self) -> str:
        return f"{self.count:,}" if self.count < SEARCHED else f"{SEARCHED:,}+"


@dataclass(frozen=True, slots=True)
class PageLink:
    """One entry of the page numbers; ``address`` is empty for a gap between them."""

    label: str
    address: str
    is_current: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    page: Page[Dataset]
    rows: tuple[Row, ...]
    query: ListQuery
    counts: tuple[GroupCount, ...]
    newest: str  # `Caller.newest_visible`, read before the rows were

    @property
    def socket(self) -> str:
        """The address of the socket that pushes these rows. It does not depend on their order."""
        return f"/progress/live/?{urlencode({'id': sorted(row.dataset.dataset_id for row in self.rows)}, doseq=True)}"

    @property
    def is_moving(self) -> bool:
        """Whether any run in the list is unfinished. Then a page without JavaScript reloads itself."""
        return any(row.progress.run and not row.progress.is_finished for row in self.rows)

    @property
    def address(self) -> str:
        """The address from which the page fetches these rows again."""
        return self.query.address(self.page.number)

    @property
    def path(self) -> str:
        """The address of this list, to come back to."""
        return f"/{self.address}" if self.address != "?" else "/"

    @property
    def links(self) -> list[PageLink]:
        """The page numbers; empty if there is only one page."""
        pages = self.page.paginator
        if pages.num_pages < 2:
            return []
        return [
            PageLink(str(number), self.query.address(number), number == self.page.number)
            if isinstance(number, int)
            else PageLink("…", "")
            for number in pages.get_elided_page_range(self.page.number, on_each_side=2, on_ends=1)
        ]


def _found(datasets: QuerySet[Dataset], text: str) -> list[int]:
    """Return row ids: partial matches among the `SEARCHED` latest datasets, and exact matches among all."""
    latest = datasets.order_by(*_ORDERS["updated"])
    searched = datasets.filter(pk__in=latest.values("pk")[:SEARCHED])
    parts = searched.filter(Q(dataset_id__icontains=text) | Q(name__icontains=text))
    found = list(parts.order_by(*_ORDERS["updated"]).values_list("pk", flat=True)[:MOST_FOUND])
    found += datasets.filter(dataset_id=text).values_list("pk", flat=True)
    found += datasets.filter(sort_name=text.lower()).order_by("pk").values_list("pk", flat=True)[:MOST_FOUND]
    return found


def list_datasets(
    user: AbstractBaseUser | AnonymousUser,
    query: ListQuery,
    page_number: str | None,
    among: QuerySet[Dataset] | None = None,
) -> Listing:
    """Return one page of the datasets that ``user`` may see, of ``among``, where that is given.

    A constant number of queries.
    """
    caller = Caller(user)
    newest = caller.newest_visible()
    datasets = caller.visible(among)
    if query.text:
        datasets = datasets.filter(pk__in=_found(datasets, query.text))
    now = timezone.now()
    latest = datasets.order_by(*_ORDERS["updated"]).values("pk")[:SEARCHED]
    counted = with_places(Dataset.objects.filter(pk__in=latest), now)
    per_place = dict(counted.order_by().values_list("place").annotate(count=Count("pk")))
    is_grouped = query.sort == DEFAULT_SORT and sum(per_place.values()) < SEARCHED
    selected: Any = with_places(datasets, now) if is_grouped or isinstance(query.state, Group) else datasets
    if isinstance(query.state, Group):
        selected = selected.filter(place=PLACES[query.state])
    elif query.state is not None:
        selected = in_state(selected, query.state)
    # What ended last comes first. What is under way stands in the order of names, which moves nothing.
    ended_last = F("head__run__finished_at").desc(nulls_last=True)
    order = ("place", ended_last, "sort_name", "pk") if is_grouped else _ORDERS.get(query.sort, _ORDERS["state"])
    page: Page[Dataset] = BoundedPaginator(selected.order_by(*order), PAGE_SIZE).get_page(page_number)
    rows = _rows(caller, list(page.object_list), is_grouped=is_grouped)
    if query.sort == "updated":  # the stored order may be seconds behind
        rows.sort(key=lambda row: (row.progress.updated_at, row.dataset.pk), reverse=True)
    return Listing(page, tuple(rows), query, _counts(query, per_place), newest)


def _rows(caller: Caller, datasets: list[Dataset], *, is_grouped: bool) -> list[Row]:
    progress = progress_of_many(dataset.pk for dataset in datasets)
    # One may have been deleted between the two queries.
    datasets = [dataset for dataset in datasets if dataset.pk in progress]
    steerable = caller.steerable(datasets)
    rows, last = [], None
    for dataset in datasets:
        group = group_of(progress[dataset.pk])
        heading = LABELS[group] if is_grouped and group != last else None
        last = group
        rows.append(Row(dataset, progress[dataset.pk], group, heading, dataset.dataset_id in steerable))
    return rows


def _counts(query: ListQuery, per_place: dict[int, int]) -> tuple[GroupCount, ...]:
    """Return the filters: all, and each group that has datasets or is shown."""
    all_of_them = GroupCount("All", sum(per_place.values()), query.of(None).address(), query.state is None)
    groups = (
        GroupCount(LABELS[group], per_place.get(place, 0), query.of(group).address(), query.state == group)
        for group, place in PLACES.items()
    )
    return all_of_them, *(group for group in groups if group.count or group.is_current)
