"""Who may: what someone who asks may see, write and make. Whoever comes over HTTP is a `Caller`."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

from .models import Dataset, DatasetQuerySet, Token


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

    def visible(self) -> DatasetQuerySet:
        """The datasets that may be seen."""
        everything = Dataset.objects.all()
        return self._covered(everything if self.user is None else everything.visible_to(self.user))

    def writable(self) -> DatasetQuerySet:
        """The datasets that may be reported on, steered and deleted."""
        if self.token is None or not self.token.can_write:
            return Dataset.objects.none()
        everything = Dataset.objects.all()
        return self._covered(everything if self.user is None else everything.writable_by(self.user))

    def may_create(self, key: str) -> bool:
        return self.token is not None and self.token.can_write and self.token.covers(key)

    def _covered(self, datasets: DatasetQuerySet) -> DatasetQuerySet:
        return datasets if self.token is None else datasets.matching(self.token.patterns)
