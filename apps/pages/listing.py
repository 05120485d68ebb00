"""The list of datasets: its filters, its order, and one row for each dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.core.paginator import Page
from django.db.models import F, QuerySet
from django.http import QueryDict
from django.utils import timezone
from django.utils.http import urlencode

from apps.core import paginator
from apps.datasets.access.rules import Caller
from apps.datasets.models import Dataset
from apps.datasets.search import Found, find
from apps.datasets.state_counts import counts_visible_to
from apps.progress.groups import (
    LABELS,
    Group,
    GroupCounts,
    complete_counts,
    count_few,
    count_groups,
    group_of,
    in_group,
    with_places,
)
from apps.progress.selectors import in_state, progress_of_many
from apps.progress.snapshot import DatasetProgress
from apps.progress.transitions import STATE_ORDER, State

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
    """A filter above the list: how many datasets a group has, exactly or at least, and its address."""

    label: str
    count: int
    is_exact: bool
    address: str
    is_current: bool

    @property
    def figure(self) -> str:
        """The count in words; empty where it may be any, so that "0+" stands nowhere."""
        if self.is_exact:
            return f"{self.count:,}"
        return f"{self.count:,}+" if self.count else ""


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
    found: Found | None  # by the search, if there was one
    has_more: bool  # than are on its pages

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
    def limits_note(self) -> str:
        """What the list leaves out, in sentences; empty if it leaves out nothing."""
        notes = []
        if self.found and self.found.searched is not None:
            where = " in this group" if self.query.state else ""
            latest = f"{self.found.searched:,} datasets{where} that changed last"
            notes.append(f"Searched the {latest}, and all for this very name or ID.")
        if self.found and self.found.has_more:
            notes.append("More match than are listed. Search for more of the name to find others.")
        if self.has_more and not self.page.has_next():
            notes.append(f"The list ends after {paginator.MOST_COUNTED:,} datasets.")
            if not self.query.is_narrowed:
                notes.append("Search, or choose a group, to find others.")
        return " ".join(notes)

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
    visible = caller.visible(among)
    now = timezone.now()
    found = find(visible, query.text) if query.text else None
    kept = counts_visible_to(caller, paginator.MOST_COUNTED) if among is None and found is None else None
    counts = _count(visible, found, now, kept)
    chosen = _chosen(visible, query.state, now)
    if found and query.state is not None:
        # Among the datasets of the group alone, so that very many matches in others hide none.
        found = find(chosen, query.text)
    total = len(found.dataset_pks) if found else _total(query.state, counts, kept)
    # A list of more than `MOST_COUNTED` is sorted by state instead, which an index serves.
    is_grouped = (
        query.sort == DEFAULT_SORT
        and not isinstance(query.state, State)
        and total is not None
        and total <= paginator.MOST_COUNTED
    )
    listed = visible.filter(pk__in=found.dataset_pks) if found else chosen
    pages = paginator.BoundedPaginator(_in_order(listed, query, now, is_grouped=is_grouped), PAGE_SIZE)
    if total is not None:
        pages.counted = total
    page: Page[Dataset] = pages.get_page(page_number)
    rows = _rows(caller, list(page.object_list), is_grouped=is_grouped)
    if query.sort == "updated":  # the stored order may be seconds behind
        rows.sort(key=lambda row: (row.progress.updated_at, row.dataset.pk), reverse=True)
    return Listing(page, tuple(rows), query, _filters(query, counts), newest, found, pages.has_more)


def _count(
    datasets: QuerySet[Dataset], found: Found | None, now: datetime, kept: Mapping[int, int] | None
) -> GroupCounts:
    """Count the datasets by group; those that a search found, if there was one."""
    if kept is not None:
        return complete_counts(kept, datasets, now, paginator.MOST_COUNTED)
    if found is None:
        return count_groups(datasets, now, paginator.MOST_COUNTED)
    counts = count_few(datasets.filter(pk__in=found.dataset_pks), now)
    is_cut = found.has_more or found.searched is not None
    return counts._replace(at_least=frozenset(Group)) if is_cut else counts


def _chosen(datasets: QuerySet[Dataset], state: State | Group | None, now: datetime) -> Any:
    """Return the datasets of a group or a state."""
    if isinstance(state, Group):
        return in_group(datasets, state, now)
    return datasets if state is None else in_state(datasets, state)


def _total(state: State | Group | None, counted: GroupCounts, kept: Mapping[int, int] | None) -> int | None:
    """Return how many datasets are in a list; above `MOST_COUNTED` only that there are more. None: not counted yet."""
    if state is None:
        return sum(counted.counts.values()) if counted.total is None else counted.total
    if isinstance(state, State):
        return None if kept is None else kept.get(STATE_ORDER.index(state), 0)
    count = counted.counts.get(state, 0)
    return count if state not in counted.at_least or count > paginator.MOST_COUNTED else None


def _in_order(datasets: Any, query: ListQuery, now: datetime, *, is_grouped: bool) -> Any:
    """Return the datasets in the order of a query, or of their groups."""
    if not is_grouped:
        return datasets.order_by(*_ORDERS.get(query.sort, _ORDERS["state"]))
    # What ended last comes first. What is under way stands in the order of names, which moves nothing.
    order = (F("head__run__finished_at").desc(nulls_last=True), "sort_name", "pk")
    if query.state is not None:  # one group
        return datasets.order_by(*order)
    return with_places(datasets, now).order_by("place", *order)


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


def _filters(query: ListQuery, counted: GroupCounts) -> tuple[GroupCount, ...]:
    """Return the filters: all, and each group that has, or may have, datasets, or is shown."""
    groups = [
        GroupCount(
            LABELS[group],
            _least(counted.counts.get(group, 0), is_exact=group not in counted.at_least),
            group not in counted.at_least,
            query.of(group).address(),
            query.state == group,
        )
        for group in Group
    ]
    is_exact = counted.total is not None or not counted.at_least
    total = sum(group.count for group in groups) if counted.total is None else counted.total
    all_of_them = GroupCount("All", total, is_exact, query.of(None).address(), query.state is None)
    return all_of_them, *(group for group in groups if group.count or group.is_current or not group.is_exact)


def _least(count: int, *, is_exact: bool) -> int:
    """Return a count without the one row beyond the bound, which only tells that there are more."""
    return count if is_exact else min(count, paginator.MOST_COUNTED)
