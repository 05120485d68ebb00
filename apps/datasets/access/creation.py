"""The one rule of who may create which dataset: for pages, the API and every token."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import transaction

from apps.datasets.models import Dataset, ReservedPrefix
from apps.datasets.services import create_dataset

from .errors import MayNotAdd, NameReserved, NotAllowed, QuotaReached
from .rules import Caller


def create(caller: Caller, dataset_id: str, *, name: str = "", visibility: str = "") -> Dataset:
    """Create a dataset that belongs to the caller's user. Raises `NotAllowed` and `ValidationError`."""
    with transaction.atomic():
        if caller.user is not None and not caller.user.is_anonymous and settings.DATASETS_PER_USER:
            # Of two processes that create a user's datasets, the second counts what the first has created.
            get_user_model()._default_manager.select_for_update(no_key=True).filter(pk=caller.user.pk).first()
        for refusal in refusals(caller, [dataset_id]).values():
            raise refusal
        return create_dataset(dataset_id, owner=caller.user, name=name, visibility=visibility)


def refusals(caller: Caller, dataset_ids: Collection[str]) -> dict[str, NotAllowed]:
    """Return why the caller may not create these ids, by id; nothing for those that it may create.

    The answer does not depend on which datasets exist, so it tells nobody of a hidden one. No query for a token of the
    site's own; else at most six, however many ids there are.
    """
    if caller.token is not None:
        uncovered = [dataset_id for dataset_id in dataset_ids if not caller.may_report_on(dataset_id)]
        if uncovered:
            rest = [dataset_id for dataset_id in dataset_ids if dataset_id not in uncovered]
            return {dataset_id: NotAllowed() for dataset_id in uncovered} | refusals(caller, rest)
    user = caller.user
    if user is None or not dataset_ids:
        return {}
    if user.is_anonymous or not caller.may_add_datasets():
        return {dataset_id: MayNotAdd() for dataset_id in dataset_ids}
    if caller.is_staff:
        return {}
    try:
        check_quota(user)
    except QuotaReached as refusal:
        return dict.fromkeys(dataset_ids, refusal)
    return dict(_reserved(user.pk, dataset_ids))


def check_quota(user: AbstractBaseUser | AnonymousUser) -> None:
    """Raise `QuotaReached` if a user owns as many datasets as one user may. At most one query."""
    quota: int = settings.DATASETS_PER_USER
    if quota and not getattr(user, "is_staff", False) and Dataset.objects.filter(owner_id=user.pk).count() >= quota:
        raise QuotaReached(quota)


def _reserved(user_pk: int, dataset_ids: Iterable[str]) -> Iterable[tuple[str, NameReserved]]:
    """Yield the ids that are reserved for teams of others. Where several prefixes match, the longest decides."""
    teams: dict[str, set[int]] = {}
    for prefix, team_pk in ReservedPrefix.objects.values_list("prefix", "team_id"):
        teams.setdefault(prefix, set()).add(team_pk)
    if not teams:
        return
    own = set(get_user_model().groups.through.objects.filter(user_id=user_pk).values_list("group_id", flat=True))
    for dataset_id in dataset_ids:
        # Case is ignored: `Team-A-` would be taken for the same team.
        matching = [prefix for prefix in teams if dataset_id.casefold().startswith(prefix.casefold())]
        longest = max(map(len, matching), default=0)
        allowed = set().union(*(teams[prefix] for prefix in matching if len(prefix) == longest))
        if matching and not allowed & own:
            yield dataset_id, NameReserved(max(matching, key=len))
