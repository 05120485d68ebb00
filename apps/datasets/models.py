"""What there is: datasets, their samples and the vectors computed for those."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.urls import reverse

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

KEY_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"


class DatasetQuerySet(models.QuerySet["Dataset"]):
    def visible_to(self, user: AbstractBaseUser | AnonymousUser) -> DatasetQuerySet:
        """Those that ``user`` may see: public ones, their own, those they are a member of; staff see all.

        Asks the database nothing about an anonymous user, and joins nothing for staff.
        """
        if user.is_anonymous:
            return self.filter(visibility=Dataset.Visibility.PUBLIC)
        if getattr(user, "is_staff", False):
            return self.all()
        member_of = Dataset.members.through.objects.filter(user_id=user.pk).values("dataset_id")
        return self.filter(Q(visibility=Dataset.Visibility.PUBLIC) | Q(owner_id=user.pk) | Q(pk__in=member_of))


class Dataset(models.Model):
    """A collection of samples, known to people and pipelines by its ``key``: the ``dataset_id`` of the wire."""

    class Visibility(models.TextChoices):
        PUBLIC = "public", "Public: anyone who can open this site"
        PRIVATE = "private", "Private: the owner, members and staff"

    key = models.CharField(
        "id",
        max_length=128,
        unique=True,
        validators=[
            RegexValidator(
                rf"\A{KEY_PATTERN}\Z",
                "Use letters, digits, dots, dashes and underscores, starting with a letter or a digit.",
            )
        ],
        help_text="Letters, digits, dots, dashes and underscores; it stands in the address of the page.",
    )
    name = models.CharField(max_length=200, blank=True, help_text="Shown in place of the id where there is one.")
    visibility = models.CharField(max_length=7, choices=Visibility, default=Visibility.PRIVATE)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="datasets"
    )
    members = models.ManyToManyField(settings.AUTH_USER_MODEL, blank=True, related_name="shared_datasets")
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[DatasetQuerySet] = DatasetQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ["key"]
        constraints = [
            models.CheckConstraint(condition=Q(visibility__in=["public", "private"]), name="dataset_visibility_known"),
        ]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("dataset", args=[self.key])

    @property
    def title(self) -> str:
        return self.name or self.key


class EmbeddingBlock(models.Model):
    """The vectors of one chunk of samples, as one row.

    A block is written in the transaction that records the chunk as done, so vectors and progress never disagree. A
    search streams the blocks of a dataset: a few hundred rows where one row a sample would be half a million. A sample
    embedded anew points to its new block, and the row it leaves behind counts for nothing.
    """

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="embedding_blocks")
    embedder = models.CharField(max_length=100)
    dimensions = models.PositiveIntegerField()
    sample_ids = models.BinaryField(help_text="int64, little-endian, one a row of `vectors`")
    vectors = models.BinaryField(help_text="float32, little-endian, row-major, each row of length 1")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(dimensions__gte=1), name="embedding_block_dimensions_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.embedder}, {self.dimensions} dimensions"


class Sample(models.Model):
    """One image that could be read. What could not be read is a failure of its run, and no sample."""

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="samples")
    path = models.CharField(max_length=1024, help_text="Relative to the dataset's folder, with forward slashes.")
    size = models.PositiveBigIntegerField(help_text="bytes")
    mtime_ns = models.BigIntegerField(help_text="The file's time of change when it was read, in nanoseconds.")
    sha256 = models.CharField(max_length=64)
    format = models.CharField(max_length=8)
    width = models.PositiveIntegerField(help_text="pixels, once turned as its EXIF orientation says")
    height = models.PositiveIntegerField(help_text="pixels, once turned as its EXIF orientation says")
    thumbnail_width = models.PositiveSmallIntegerField()
    thumbnail_height = models.PositiveSmallIntegerField()
    seen_in_run = models.PositiveBigIntegerField(help_text="The number of the last run that met this file.")
    embedding_block = models.ForeignKey(
        EmbeddingBlock, null=True, blank=True, on_delete=models.SET_NULL, related_name="samples"
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["dataset", "path"], name="sample_once_a_path"),
        ]
        indexes = [
            # The gallery walks a dataset in order of id, from a cursor.
            models.Index(fields=["dataset", "id"], name="sample_gallery"),
            # A thumbnail is kept as long as any sample of the dataset has its content.
            models.Index(fields=["dataset", "sha256"], name="sample_content"),
        ]

    def __str__(self) -> str:
        return self.path
