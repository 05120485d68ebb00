"""Every write of datasets and tokens. The admin's forms alone save through Django's `ModelAdmin`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import connection, transaction
from django.db.models import Case, F, Q, QuerySet, When
from django.db.models.functions import Now
from django.utils import timezone

from apps.core.sql import delete_some, execute_rows

from .models import Dataset, EmbeddingBlock, Membership, NearDuplicate, Sample, Token
from .tokens import set_secret

# `Token.last_used_at` is this precise, so that a token that is used often costs few writes.
LAST_USED_PRECISION: Final = timedelta(minutes=1)


def create_dataset(
    dataset_id: str, *, owner: AbstractBaseUser | AnonymousUser | None = None, name: str = "", visibility: str = ""
) -> Dataset:
    """Create a dataset. An empty ``visibility`` means what ``DATASETS_PUBLIC`` says.

    Raises `ValidationError` for an id that is malformed or taken.
    """
    dataset = Dataset(
        dataset_id=dataset_id,
        name=name,
        visibility=visibility or Dataset.Visibility.of_new(),
        owner_id=owner.pk if owner else None,
    )
    dataset.full_clean()
    dataset.save()
    return dataset


def rename_dataset(dataset: Dataset, name: str) -> None:
    """Give a dataset another name; its id stays. Raises `ValidationError`."""
    dataset.name = name
    dataset.full_clean()
    dataset.save(update_fields=["name"])


def share_dataset(
    dataset: Dataset, *, visibility: str, owner: AbstractBaseUser | None, members: Mapping[AbstractBaseUser, str]
) -> None:
    """Set who sees a dataset, and the role of each member. Raises `ValidationError` for an unknown visibility."""
    with transaction.atomic():
        dataset.visibility = visibility
        dataset.owner_id = owner.pk if owner else None
        dataset.full_clean()
        dataset.save(update_fields=["visibility", "owner"])
        Membership.objects.filter(dataset=dataset).exclude(user__in=[user.pk for user in members]).delete()
        Membership.objects.bulk_create(
            [Membership(dataset=dataset, user_id=user.pk, role=role) for user, role in members.items()],
            update_conflicts=True,
            unique_fields=["dataset", "user"],
            update_fields=["role"],
        )


def delete_dataset(dataset: Dataset) -> None:
    """Delete a dataset: it is gone at once, and a worker removes its rows and thumbnails. The files in its folder stay.

    A worker or a reporter that is busy with it is told so at its next report.
    """
    Dataset.objects.filter(pk=dataset.pk).update(deleted_at=timezone.now())


class ListedAs(NamedTuple):
    """The place of a dataset in lists: when it changed last, and the place of its state in their order."""

    dataset_pk: int
    changed_at: datetime
    state_order: int


def note_listed(places: Iterable[ListedAs]) -> None:
    """Note the places of datasets in lists. Call it with the heads of their progress locked.

    Those that are deleted are left alone, so that nobody waits for their removal.
    """
    rows = [
        (connection.ops.adapt_datetimefield_value(one.changed_at), one.state_order, one.dataset_pk) for one in places
    ]
    if rows:
        table = Dataset._meta.db_table
        sql = f"UPDATE {table} SET changed_at = %s, state_order = %s WHERE id = %s AND deleted_at IS NULL"  # noqa: S608 -- a model's
        execute_rows([(sql, rows)])


@contextmanager
def removing(dataset_pk: int) -> Iterator[bool]:
    """A transaction that removes some rows of a deleted dataset. Yields False where another worker is at it."""
    with transaction.atomic():
        deleted = Dataset.with_deleted.filter(pk=dataset_pk, deleted_at__isnull=False)
        yield bool(deleted.select_for_update(skip_locked=True, no_key=True).values_list("pk"))


def remove_some_samples(dataset_pk: int) -> int:
    """Remove some of the samples and vectors of a deleted dataset. Returns how many; 0: there are none left."""
    return delete_some(
        NearDuplicate.objects.filter(dataset=dataset_pk),
        Sample.objects.filter(dataset=dataset_pk),
        EmbeddingBlock.objects.filter(dataset=dataset_pk),
        large=[EmbeddingBlock],
    )


def remove_dataset(dataset_pk: int) -> None:
    """Remove the row of a deleted dataset, and whatever still refers to it."""
    Dataset.with_deleted.filter(pk=dataset_pk).delete()


def remove_near_duplicates(dataset_pk: int) -> int:
    """Remove some of what was found to be near-duplicates. Returns how many rows; 0: there are none left."""
    return delete_some(NearDuplicate.objects.filter(dataset=dataset_pk))


def add_to_sample_count(dataset_pk: int, more: int) -> None:
    """Keep how many samples of a dataset have their files, in the transaction that writes the samples, after its head.

    ``more`` is negative where files are gone. Sets it to None if it would become negative: an earlier version wrote
    samples without counting them. A dataset that is deleted is left alone, as in `note_listed`.
    """
    if more:
        count = Case(When(sample_count__gte=-more, then=F("sample_count") + more))
        Dataset.objects.filter(pk=dataset_pk).update(sample_count=count)


def set_sample_count(dataset_pk: int, count: int | None) -> None:
    """Keep how many samples of a dataset have their files, counted while nobody wrote any; None: not known."""
    Dataset.objects.filter(pk=dataset_pk).update(sample_count=count)


def note_file_counts(dataset_pk: int, files: Mapping[str, Any]) -> None:
    """Keep counts of a dataset's files, beside those that are known already."""
    dataset = Dataset.objects.get(pk=dataset_pk)
    dataset.file_counts = {**dataset.file_counts, **files}
    dataset.save(update_fields=["file_counts"])


def forget_missing_samples(dataset: Dataset) -> int:
    """Forget the samples whose files are gone, with thumbnails and vectors. A worker deletes them. Returns how many."""
    count = dataset.missing_samples().count()
    if count:
        Dataset.objects.filter(pk=dataset.pk).update(missing_forgotten_at=Now())
    return count


def finish_forgetting(dataset: Dataset) -> None:
    """Note that all samples are deleted which were forgotten when ``dataset`` was loaded."""
    # Not `=`: SQLite's own clock writes fewer digits than Django asks for.
    forgotten = Dataset.objects.filter(pk=dataset.pk, missing_forgotten_at__lte=dataset.missing_forgotten_at)
    forgotten.update(missing_forgotten_at=None)


def discard_datasets(dataset_ids: Collection[str]) -> None:
    """Delete datasets that were created a moment ago, in the same transaction, and have no samples."""
    if dataset_ids:
        Dataset.objects.filter(dataset_id__in=dataset_ids).delete()


def issue_token(
    name: str,
    *,
    user: AbstractBaseUser | None = None,
    datasets: str = "*",
    can_write: bool = True,
    days: int | None = None,
) -> tuple[Token, str]:
    """Create a token. Returns it with its secret, which is shown once and stored nowhere.

    ``datasets``: patterns, separated by commas, of the ids that it covers. ``days``: how long it is valid; None: until
    it is revoked. A token without a ``user`` is the site's own. Raises `ValidationError`.
    """
    token = Token(
        name=name,
        user_id=user.pk if user else None,
        datasets=datasets,
        can_write=can_write,
        expires_at=timezone.now() + timedelta(days=days) if days is not None else None,
    )
    return token, save_new_token(token)


def save_new_token(token: Token) -> str:
    """Save a token that was just made. Returns its secret. Raises `ValidationError`."""
    secret = set_secret(token)
    token.full_clean()
    token.save()
    return secret


def revoke_tokens(tokens: QuerySet[Token]) -> int:
    """Revoke tokens. Returns how many of them were not revoked before."""
    return tokens.filter(revoked_at=None).update(revoked_at=timezone.now())


def prune_tokens(before: datetime) -> int:
    """Remove some tokens that were revoked or expired before then. Returns how many; 0: there are none left."""
    return delete_some(Token.objects.filter(Q(revoked_at__lt=before) | Q(expires_at__lt=before)))


def note_token_use(token: Token) -> None:
    """Record that a token was used now, once in `LAST_USED_PRECISION`."""
    now = timezone.now()
    if token.last_used_at is None or token.last_used_at < now - LAST_USED_PRECISION:
        Token.objects.filter(pk=token.pk).update(last_used_at=now)
