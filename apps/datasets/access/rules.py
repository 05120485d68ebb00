"""The rules: which datasets a caller may see, report on, steer and create."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, PermissionsMixin
from django.db.models import Q, QuerySet

from apps.core.sql import rows_in
from apps.datasets.models import Dataset, Membership, Token
from apps.datasets.services import note_token_use
from apps.datasets.tokens import active_tokens, digest_of

from .patterns import covered


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a user, or a token, which may only do what its user may, for the datasets that it covers.

    A token without a user is the site's own. It may do anything with the datasets that it covers.
    """

    user: AbstractBaseUser | AnonymousUser | None
    token: Token | None = None

    def __post_init__(self) -> None:
        if self.user is None and self.token is None:
            raise ValueError("A caller has a user, a token, or both.")

    @property
    def scope(self) -> Hashable:
        """Cache key for `visible()`: callers with equal scopes see the same datasets."""
        user = None if self.user is None else (self.user.pk, self.is_staff)
        return user, None if self.token is None else self.token.datasets

    @property
    def name(self) -> str:
        """The caller's name in a run's history: of the user, or ``token`` and the token's name."""
        return str(self.user) if self.token is None else f"token {self.token.name}"

    def visible(self, among: QuerySet[Dataset] | None = None) -> QuerySet[Dataset]:
        """Return the datasets that the caller may see; of ``among``, where that is given.

        A user sees public datasets, their own and those that they are a member of; staff see all. A token sees those of
        its user's that it covers. An anonymous user sees the public ones, or none with ``SIGN_IN_REQUIRED``. Asks the
        database nothing about an anonymous user, and joins nothing for staff.
        """
        datasets = Dataset.objects.all() if among is None else among
        if not self.may_read:
            return datasets.none()
        if self.user is not None and not self.is_staff:
            rule = Q(visibility=Dataset.Visibility.PUBLIC)
            datasets = datasets.filter(rule if self.user.is_anonymous else rule | _is_own(self.user.pk))
        return datasets if self.token is None else datasets.filter(covered(self.token.patterns))

    def own(self) -> QuerySet[Dataset]:
        """Return the datasets that the caller's user owns or is a member of."""
        if self.user is None or self._is_anonymous:
            return Dataset.objects.none()
        return Dataset.objects.filter(_is_own(self.user.pk))

    def newest_visible(self) -> str:
        """Return when the newest dataset that the caller may see was created, as a text to compare; empty: none."""
        created = self.visible().order_by("-pk").values_list("created_at", flat=True).first()
        return f"{created.timestamp():.6f}" if created else ""

    @property
    def may_read(self) -> bool:
        """Whether the caller may see anything at all."""
        return self.token is not None or not self._is_anonymous or not settings.SIGN_IN_REQUIRED

    def writable(self, datasets: Iterable[Dataset]) -> dict[str, Dataset]:
        """Return those of the datasets that the caller may report on, by id. At most one query.

        Only a token may report: on the datasets that its user owns or is a member of who may report; on all of them
        where the user is staff, and for a token of the site's own.
        """
        covered = {dataset.dataset_id: dataset for dataset in datasets if self.may_report_on(dataset.dataset_id)}
        if self.has_every_right:
            return covered
        return self._with_role(covered, {Membership.Role.REPORT, Membership.Role.STEER})

    def steerable(self, datasets: Iterable[Dataset]) -> dict[str, Dataset]:
        """Return those of the datasets that the caller may pause, cancel, process and retry, by id. At most one query.

        Check first that it may see them, or with a token, that it may report on them.
        The owner may, a member who may steer, staff, and a token of the site's own.
        """
        found = {dataset.dataset_id: dataset for dataset in datasets}
        return found if self.has_every_right else self._with_role(found, {Membership.Role.STEER})

    def may_steer(self, dataset: Dataset) -> bool:
        """Return whether the caller may pause, cancel, process and retry the dataset, as `steerable` says."""
        return bool(self.steerable([dataset]))

    def may_manage(self, dataset: Dataset) -> bool:
        """Return whether the caller may delete the dataset, and say who sees it: its owner, staff, the site's tokens.

        Check first that it may see the dataset, or with a token, that it may report on it.
        """
        return self.has_every_right or self._owns(dataset)

    def _with_role(self, datasets: Mapping[str, Dataset], roles: set[Membership.Role]) -> dict[str, Dataset]:
        """Return those that the user owns, or is a member of with one of these roles."""
        others = [dataset.pk for dataset in datasets.values() if not self._owns(dataset)]
        user_pk = None if self.user is None or self._is_anonymous else self.user.pk
        rows = rows_in(Membership, "dataset_id", others) if user_pk is not None else []
        member_of = {row.dataset_id for row in rows if row.user_id == user_pk and row.role in roles}
        return {
            dataset_id: dataset
            for dataset_id, dataset in datasets.items()
            if self._owns(dataset) or dataset.pk in member_of
        }

    def may_report_on(self, dataset_id: str) -> bool:
        """Return whether the caller has a token that may write this id, whoever owns the dataset."""
        return self.token is not None and self.token.can_write and self.token.covers(dataset_id)

    def may_add_datasets(self) -> bool:
        """Return whether the caller may create datasets at all. `creation` says which.

        A user may with ``USERS_MAY_ADD_DATASETS``, else with the permission "Can add dataset"; with tokens as on pages.
        """
        if self.user is None:
            return True
        if not isinstance(self.user, PermissionsMixin):
            return False
        return settings.USERS_MAY_ADD_DATASETS or self.user.has_perm("datasets.add_dataset")

    @property
    def is_staff(self) -> bool:
        return bool(getattr(self.user, "is_staff", False))

    @property
    def _is_anonymous(self) -> bool:
        return self.user is not None and self.user.is_anonymous

    @property
    def has_every_right(self) -> bool:
        """Whether the caller may do anything that its token covers, with any dataset: staff, the site's own tokens."""
        return self.user is None or self.is_staff

    def _owns(self, dataset: Dataset) -> bool:
        return self.user is not None and not self._is_anonymous and dataset.owner_id == self.user.pk


def _is_own(user_pk: Any) -> Q:
    """Return the condition that a user owns a dataset or is a member of it."""
    return Q(owner_id=user_pk) | Q(pk__in=Membership.objects.filter(user_id=user_pk).values("dataset_id"))


def authenticate(secret: str) -> Caller | None:
    """Return the caller whose token has this secret, and record its use; None where no active token has it.

    One query, another for the user of the token, and once a minute one to record the use.
    """
    for token in active_tokens([digest_of(secret)]):
        note_token_use(token)
        return Caller(token.user, token)
    return None
