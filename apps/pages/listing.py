"""The list of datasets: its filters, its order, and one row for each dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.core.paginator import Page
from django.db.models import Count, Q, QuerySet
from django.http import QueryDict
from django.utils.http import urlencode

from apps.core.paginator import BoundedPaginator
from apps.datasets.access.rules import Caller
from apps.datasets.models import Dataset, Sample
from apps.progress.selectors import in_state, progress_of_many
from apps.progress.snapshot import DatasetProgress
from apps.progress.transitions import UNFINISHED, State

from .amounts import plural

PAGE_SIZE: Final = 50
_ORDERS: Final = {
    "updated": ("-changed_at", "-pk"),
    "name": ("sort_name", "pk"),
    "state": ("state_order", "sort_name", "pk"),
    "created": ("-created_at", "-pk"),
}
SORTS: Final = {"updated": "Last change", "name": "Name", "state": "State", "created": "Date created"}
# A search looks for a part of a name or an ID in the datasets that changed last, and shows so many of those it finds.
SEARCHED: Final = 10_000
MOST_FOUND: Final = 1_000


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A search in names and IDs, a state (None: all) and an order. Invalid values are ignored."""

    text: str
    state: State | None
    sort: str

    @classmethod
    def parse(cls, params: QueryDict) -> ListQuery:
        state = params.get("state", "")
        sort = params.get("sort", "")
        return cls(
            text=params.get("q", "").replace("\0", "").strip()[:200],
            state=State(state) if state in list(State) else None,
            sort=sort if sort in SORTS else "updated",
        )

    @property
    def is_narrowed(self) -> bool:
        return bool(self.text or self.state)

    def address(self, page: int = 1) -> str:
        """Return the query string of ``page`` of this list, without the values that are the default."""
        params = {"q": self.text, "state": self.state or "", "sort": "" if self.sort == "updated" else self.sort}
        kept = {name: value for name, value in params.items() if value}
        if page > 1:
            kept["page"] = str(page)
        return f"?{urlencode(kept)}" if kept else "?"


@dataclass(frozen=True, slots=True)
class Row:
    """One dataset in the list. ``samples`` is None while a run is unfinished, because its bar counts them."""

    dataset: Dataset
    progress: DatasetProgress
    samples: int | None

    @property
    def details(self) -> list[str]:
        """The facts below the name."""
        facts = [
            self.dataset.dataset_id if self.dataset.name else "",
            "Private" if self.dataset.visibility == "private" else "",
            plural(self.samples, "samples") if self.samples else "",
        ]
        return [fact for fact in facts if fact]


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


def _selected(user: AbstractBaseUser | AnonymousUser, query: ListQuery) -> QuerySet[Dataset]:
    datasets = Caller(user).visible()
    if query.text:
        datasets = datasets.filter(pk__in=_found(datasets, query.text))
    if query.state:
        datasets = in_state(datasets, query.state)
    return datasets.order_by(*_ORDERS[query.sort])


def _found(datasets: QuerySet[Dataset], text: str) -> list[int]:
    """Return the row ids of what a search finds: a part of a text among the latest datasets, and a whole among all."""
    latest = datasets.order_by(*_ORDERS["updated"])
    searched = datasets.filter(pk__in=latest.values("pk")[:SEARCHED])
    parts = searched.filter(Q(dataset_id__icontains=text) | Q(name__icontains=text))
    found = list(parts.order_by(*_ORDERS["updated"]).values_list("pk", flat=True)[:MOST_FOUND])
    found += datasets.filter(dataset_id=text).values_list("pk", flat=True)
    found += datasets.filter(sort_name=text.lower()).order_by("pk").values_list("pk", flat=True)[:MOST_FOUND]
    return found


def _count_samples(datasets: list[Dataset], progress: Mapping[int, DatasetProgress]) -> dict[int, int]:
    """Return how many samples datasets have, by row id: as a run that is ready counted them, else counted now."""
    counted = {
        dataset.pk: count
        for dataset in datasets
        if progress[dataset.pk].state is State.READY and (count := dataset.file_counts.get("samples")) is not None
    }
    present = Sample.objects.present().filter(dataset__in=[one.pk for one in datasets if one.pk not in counted])
    return counted | dict(present.values_list("dataset_id").annotate(Count("pk")))


def list_datasets(user: AbstractBaseUser | AnonymousUser, query: ListQuery, page_number: str | None) -> Listing:
    """Return one page of the datasets that ``user`` may see, in five queries, and three more for a search."""
    newest = Caller(user).newest_visible()
    page = BoundedPaginator(_selected(user, query), PAGE_SIZE).get_page(page_number)
    datasets = list(page.object_list)
    progress = progress_of_many(dataset.pk for dataset in datasets)
    idle = [pk for pk, one in progress.items() if one.state not in UNFINISHED or one.run is None]
    counts = _count_samples([dataset for dataset in datasets if dataset.pk in idle], progress)
    rows = tuple(
        Row(dataset, progress[dataset.pk], counts.get(dataset.pk, 0) if dataset.pk in idle else None)
        for dataset in datasets
        if dataset.pk in progress  # it may have been deleted between the two queries
    )
    if query.sort == "updated":  # the stored order may be seconds behind
        rows = tuple(sorted(rows, key=lambda row: (row.progress.updated_at, row.dataset.pk), reverse=True))
    return Listing(page, rows, query, newest)
