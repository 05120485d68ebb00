"""Who may: what someone who asks may see, write and make. Whoever comes over HTTP is a `Caller`."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

from apps.core.sql import rows_in
from apps.datasets.models import Dataset, DatasetQuerySet, Token


@dataclass(frozen=True, slots=True)
class Caller:
    """Someone who asks: an account, and the token that speaks for it, which may allow less.

    A token without an account is the site's own: it may whatever its patterns cover.
    """

    user: AbstractBaseUser | AnonymousUser | None
    token: Token | None = None

    @property
    def who(self) -> tuple[int | None, int | None]:
        """Whose rights these are: two who are the same may see the same."""
        return self.user.pk if self.user else None, self.token.pk if self.token else None

    @property
    def sees(self) -> Hashable:
        """What `visible` depends on: two of whom it is the same may see the same, though asked at different times."""
        user = None if self.user is None else (self.user.pk, getattr(self.user, "is_staff", False))
        return user, None if self.token is None else self.token.datasets

    def visible(self, among: DatasetQuerySet | None = None) -> DatasetQuerySet:
        """The datasets that may be seen; of ``among``, where that is given."""
        datasets = Dataset.objects.all() if among is None else among
        datasets = datasets if self.user is None else datasets.visible_to(self.user)
        return datasets if self.token is None else datasets.matching(self.token.patterns)

    def writable(self, datasets: Iterable[Dataset]) -> dict[str, Dataset]:
        """Those of the datasets that may be reported on, by their ids.

        A token is for that, and speaks for its user: for their own datasets and those they are a member of; all of
        them for staff, and for a token of the site's own. No more than one query.
        """
        found = {dataset.dataset_id: dataset for dataset in datasets if self.may_create(dataset.dataset_id)}
        if self.user is None or getattr(self.user, "is_staff", False):
            return found
        others = [dataset.pk for dataset in found.values() if dataset.owner_id != self.user.pk]
        members = rows_in(Dataset.members.through, "dataset_id", others)
        mine = {row.dataset_id for row in members if row.user_id == self.user.pk}
        return {dataset_id: one for dataset_id, one in found.items() if one.owner_id == self.user.pk or one.pk in mine}

    def may_steer(self, dataset: Dataset) -> bool:
        """Whether a dataset that may be seen, or be written by a token, may be paused, cancelled and deleted: that is
        for its owner and staff, and for a token of the site's own.
        """
        if self.user is None or getattr(self.user, "is_staff", False):
            return True
        return not self.user.is_anonymous and dataset.owner_id == self.user.pk

    def may_create(self, dataset_id: str) -> bool:
        return self.token is not None and self.token.can_write and self.token.covers(dataset_id)
