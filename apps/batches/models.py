"""Batches: several datasets that are processed and followed as one. Only `services` writes these tables."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from apps.datasets.dataset_ids import DATASET_ID_PATTERN
from apps.datasets.models import Dataset
from apps.progress.models import new_epoch


class Batch(models.Model):
    """Datasets under one name. A dataset may be in several batches."""

    batch_id = models.CharField(
        "ID",
        max_length=128,
        unique=True,
        validators=[
            RegexValidator(
                rf"\A{DATASET_ID_PATTERN}\Z",
                "Use letters, digits, dots, dashes and underscores, starting with a letter or a digit.",
            )
        ],
        help_text="Letters, digits, dots, dashes and underscores. It is part of the address of the batch's page.",
    )
    name = models.CharField(max_length=200, blank=True, help_text="Shown instead of the ID.")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="batches"
    )
    limit = models.PositiveIntegerField(
        "at once",
        default=0,
        help_text="How many of its datasets this site's workers process at the same time; 0: as many as there are "
        "workers.",
    )
    datasets = models.ManyToManyField(Dataset, blank=True, related_name="batches", through="BatchMember")
    # As those of `progress.models.Head`, for what is shown of the batch itself.
    epoch = models.CharField(max_length=16, default=new_epoch, editable=False)
    version = models.PositiveBigIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    changed_at = models.DateTimeField(default=timezone.now, editable=False)
    # When to look whether it has ended; empty: nothing has ended in it since the last look.
    end_check_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["batch_id"]
        verbose_name_plural = "batches"
        indexes = [
            models.Index(fields=["end_check_at"], condition=Q(end_check_at__isnull=False), name="batch_end_check")
        ]

    def __str__(self) -> str:
        return self.name or self.batch_id

    def get_absolute_url(self) -> str:
        return reverse("batch", args=[self.batch_id])


class BatchMember(models.Model):
    """A dataset of a batch."""

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="memberships")
    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="batch_memberships")
    is_limited = models.BooleanField(
        default=False,
        help_text="Whether the batch's limit holds for it: whoever added it may steer it.",
    )
    added_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["batch", "id"]
        constraints = [models.UniqueConstraint(fields=["batch", "dataset"], name="batch_member_once")]
        indexes = [models.Index(fields=["dataset", "batch"], condition=Q(is_limited=True), name="batch_limited")]

    def __str__(self) -> str:
        return f"{self.dataset} in {self.batch}"
