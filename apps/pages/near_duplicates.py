"""Groups of near-duplicates, page by page. A page takes two queries, however large the groups are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.db.models import Count, F, Window
from django.db.models.functions import RowNumber

from apps.datasets.models import Dataset, NearDuplicate

GROUPS_SIZE: Final = 20
MOST_SHOWN: Final = 12
_MOST_DIGITS: Final = 18


@dataclass(frozen=True, slots=True)
class Group:
    """The first samples of a group, and of how many they are."""

    members: list[NearDuplicate]
    count: int


@dataclass(frozen=True, slots=True)
class GroupsPage:
    """Some groups in order, and the cursor of the next page; None: it is the last."""

    groups: list[Group]
    next: int | None


def groups_page(dataset: Dataset, score: float, after: str) -> GroupsPage:
    """Return the groups of present samples that are at least ``score`` similar, behind the cursor ``after``."""
    near = NearDuplicate.objects.filter(dataset=dataset, score__gte=score, sample__missing_since=None)
    counted = near.values_list("group").annotate(count=Count("pk")).filter(count__gt=1).order_by("group")
    if after.isascii() and after.isdigit() and len(after) <= _MOST_DIGITS:
        counted = counted.filter(group__gt=int(after))
    counts = list(counted[: GROUPS_SIZE + 1])
    shown = dict(counts[:GROUPS_SIZE])
    place = Window(RowNumber(), partition_by="group", order_by=F("sample_id").asc())
    members = near.filter(group__in=shown).annotate(place=place).filter(place__lte=MOST_SHOWN)
    by_group: dict[int, list[NearDuplicate]] = {}
    for member in members.select_related("sample").order_by("group", "sample_id"):
        by_group.setdefault(member.group, []).append(member)
    groups = [Group(members, shown[group]) for group, members in by_group.items()]
    return GroupsPage(groups, counts[GROUPS_SIZE - 1][0] if counts[GROUPS_SIZE:] else None)
