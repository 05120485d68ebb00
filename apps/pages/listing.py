"""The list of datasets: its filters, its order, and one row for each dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.core.paginator import Page, Paginator
from django.db.models import Case, Count, F, IntegerField, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce, Lower, NullIf
from django.http import QueryDict
from django.utils.http import urlencode

from apps.datasets.access.rules import Caller
from apps.datasets.models import Dataset, Sample
from apps.progress.selectors import in_state, progress_of_many
from apps.progress.snapshot import DatasetProgress
from apps.progress.transitions import UNFINISHED, State

from .amounts import plural

PAGE_SIZE: Final = 50
SORTS: Final = {"updated": "Last change", "name": "Name", "state": "State", "created": "Date created"}
# Working datasets first, ready ones last.
_STATE_ORDER: Final = (State.INDEXING, State.EMBEDDING, State.PENDING, State.ERROR, State.READY)


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
    visible = Caller(user).visible()
    if query.text:
        visible = visible.filter(Q(dataset_id__icontains=query.text) | Q(name__icontains=query.text))
    if query.state:
        visible = in_state(visible, query.state)
    datasets = visible.annotate(
        state=Coalesce("head__run__state", Value(State.PENDING.value)),
        sort_name=Lower(Coalesce(NullIf("name", Value("")), "dataset_id")),
    )
    match query.sort:
        case "name":
            return datasets.order_by("sort_name", "pk")
        case "state":
            order = [When(state=state.value, then=place) for place, state in enumerate(_STATE_ORDER)]
            return datasets.order_by(Case(*order, output_field=IntegerField()), "sort_name", "pk")
        case "created":
            return datasets.order_by("-created_at", "-pk")
    return datasets.order_by(Coalesce(F("head__run__updated_at"), F("created_at")).desc(), "-pk")


def list_datasets(user: AbstractBaseUser | AnonymousUser, query: ListQuery, page_number: str | None) -> Listing:
    """Return one page of the datasets that ``user`` may see, in five queries, however many datasets there are."""
    newest = Caller(user).newest_visible()
    page = Paginator(_selected(user, query), PAGE_SIZE).get_page(page_number)
    datasets = list(page.object_list)
    progress = progress_of_many(dataset.pk for dataset in datasets)
    idle = [pk for pk, one in progress.items() if one.state not in UNFINISHED or one.run is None]
    present = Sample.objects.present().filter(dataset__in=idle)
    counts = dict(present.values_list("dataset_id").annotate(Count("pk")))
    rows = tuple(
        Row(dataset, progress[dataset.pk], counts.get(dataset.pk, 0) if dataset.pk in idle else None)
        for dataset in datasets
        if dataset.pk in progress  # it may have been deleted between the two queries
    )
    return Listing(page, rows, query, newest)
