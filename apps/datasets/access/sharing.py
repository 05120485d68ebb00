"""Who sees a dataset: its visibility, owner and members, as those who may manage it set them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Final

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.db import transaction

from apps.datasets.models import Dataset, Membership
from apps.datasets.services import share_dataset

from .creation import check_quota
from .errors import NotAllowed
from .rules import Caller

REPORT: Final = Membership.Role.REPORT.value


@dataclass(frozen=True, slots=True)
class Sharing:
    """Who sees a dataset. ``owner`` and ``members`` are user names; an empty owner is none."""

    visibility: str
    owner: str
    members: tuple[str, ...]  # sorted, each once
    roles: dict[str, str] = field(default_factory=dict)  # of each member


@dataclass(frozen=True, slots=True)
class SharingChange:
    """What is to be changed of a `Sharing`. None leaves what it is."""

    visibility: str | None = None
    owner: str | None = None
    members: Collection[str] | None = None
    roles: Mapping[str, str] | None = None

    def apply_to(self, sharing: Sharing) -> Sharing:
        """Return what is so after the change. Members who are not given a role keep theirs; new ones may report.

        Raises `ValidationError` for an unknown role, and for the role of somebody who is no member.
        """
        given = {name: value for name, value in asdict(self).items() if value is not None}
        members = sharing.members if self.members is None else tuple(sorted(set(self.members)))
        roles = {name: (self.roles or {}).get(name) or sharing.roles.get(name) or REPORT for name in members}
        if strangers := sorted(set(self.roles or {}) - set(members)):
            raise ValidationError({"roles": f"{', '.join(strangers)}: no member."})
        if unknown := sorted(set(roles.values()) - set(Membership.Role.values)):
            raise ValidationError({"roles": f"There is no role {', '.join(unknown)}. Use view, report or steer."})
        return replace(sharing, **{**given, "members": members, "roles": roles})


def sharing_of(dataset: Dataset) -> Sharing:
    """Return who sees a dataset. Two queries."""
    roles = {one.user.get_username(): one.role for one in dataset.memberships.select_related("user")}
    return Sharing(
        visibility=dataset.visibility,
        owner=dataset.owner.get_username() if dataset.owner else "",
        members=tuple(sorted(roles)),
        roles=dict(sorted(roles.items())),
    )


def share(caller: Caller, dataset: Dataset, change: SharingChange) -> Sharing:
    """Change who sees a dataset, all of it or nothing. Returns who sees it now.

    What is so already may be asked for by anyone who may report. Raises `NotAllowed` where the caller may not manage
    the dataset, `QuotaReached` where the new owner has no room, and `ValidationError` for a name that no user has.
    """
    with transaction.atomic():
        dataset = Dataset.objects.select_for_update(no_key=True).get(pk=dataset.pk)
        before = sharing_of(dataset)
        after = change.apply_to(before)
        if after == before:
            return before
        if not caller.may_manage(dataset):
            raise NotAllowed("Only its owner, staff and the site's own tokens may say who sees this dataset.")
        users = _users({after.owner, *after.members} - {""}, fields=asdict(after))
        if after.owner != before.owner and not caller.has_every_right:
            if not after.owner:
                raise ValidationError({"owner": "Name the new owner."})
            check_quota(users[after.owner])
        share_dataset(
            dataset,
            visibility=after.visibility,
            owner=users[after.owner] if after.owner else None,
            members={users[name]: role for name, role in after.roles.items()},
        )
    return after


def _users(names: Collection[str], fields: dict[str, object]) -> dict[str, AbstractBaseUser]:
    """Return the users of these names. Raises `ValidationError` that says in which field there is another name."""
    manager = get_user_model()._default_manager
    users: dict[str, AbstractBaseUser] = {
        user.get_username(): user for user in manager.filter(username__in=names, is_active=True)
    }
    if unknown := sorted(set(names) - users.keys()):
        where = "owner" if unknown == [fields["owner"]] else "members"
        raise ValidationError({where: f"There is no user {', '.join(unknown)}."})
    return users
