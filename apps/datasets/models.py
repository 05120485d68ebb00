"""Datasets, their samples with the vectors computed from them, and tokens."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q, Value
from django.db.models.functions import Coalesce, Lower, Now, NullIf
from django.urls import reverse
from django.utils import timezone

from .access.patterns import covers, parse_patterns
from .dataset_ids import DATASET_ID_PATTERN


class DatasetManager(models.Manager["Dataset"]):
    """The datasets that there are for people and programs: without those that were deleted."""

    def get_queryset(self) -> models.QuerySet[Dataset]:
        return super().get_queryset().filter(deleted_at=None)


class Dataset(models.Model):
    """A collection of samples.

    ``dataset_id`` is the string by which people and pipelines know it, as on the wire; the id of its row is called
    ``dataset_pk``. Django calls the column of a foreign key ``dataset_id`` too: `Run.dataset_id` is a ``dataset_pk``.
    """

    class Visibility(models.TextChoices):
        PUBLIC = "public", "Public"
        PRIVATE = "private", "Private"

        @classmethod
        def of_new(cls) -> Dataset.Visibility:
            """The visibility of a new dataset for which nobody chose one."""
            return cls.PUBLIC if settings.DATASETS_PUBLIC else cls.PRIVATE

        @property
        def seen_by(self) -> str:
            """Who sees a dataset of this visibility, in words."""
            if self is Dataset.Visibility.PRIVATE:
                return "the owner, members and staff"
            return "anyone who can sign in" if settings.SIGN_IN_REQUIRED else "anyone who can reach this site"

    dataset_id = models.CharField(
        "ID",
        max_length=128,
        validators=[
            RegexValidator(
                rf"\A{DATASET_ID_PATTERN}\Z",
                "Use letters, digits, dots, dashes and underscores, starting with a letter or a digit.",
            )
        ],
        help_text="Letters, digits, dots, dashes and underscores. It is part of the address of the dataset's page.",
    )
    name = models.CharField(max_length=200, blank=True, help_text="Shown instead of the ID.")
    visibility = models.CharField(
        max_length=7,
        choices=Visibility,
        default=Visibility.PRIVATE,
        help_text="Public: anyone who can reach this site, or with SIGN_IN_REQUIRED, anyone who can sign in. "
        "Private: the owner, members and staff.",
    )
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="datasets"
    )
    members = models.ManyToManyField(
        settings.AUTH_USER_MODEL, blank=True, related_name="shared_datasets", through="Membership"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    # By these the list is sorted, from an index each. `progress.store` keeps the first two: when the dataset changed
    # last, which may be `LISTED_SECONDS` behind, and the place of its state in `transitions.STATE_ORDER` (2: pending).
    changed_at = models.DateTimeField(default=timezone.now, db_default=Now(), editable=False)
    state_order = models.PositiveSmallIntegerField(default=2, db_default=2, editable=False)
    sort_name = models.GeneratedField(
        expression=Lower(Coalesce(NullIf("name", Value("")), "dataset_id")),
        output_field=models.CharField(max_length=200),
        db_persist=True,
    )
    # The samples that are missing since then or longer count as missing no longer. A worker deletes them.
    missing_forgotten_at = models.DateTimeField(null=True, editable=False)
    # The samples whose files are there: kept by the pipeline from the first run on. None: not kept.
    sample_count = models.PositiveIntegerField(null=True, editable=False)
    # What the last run counted: files that are no samples (`selection.Tally`), copies and damaged samples.
    file_counts = models.JSONField(default=dict, db_default=Value({}, models.JSONField()), editable=False)
    # From then on it is gone for everybody, and its id is free. A worker removes its rows and files.
    deleted_at = models.DateTimeField(null=True, editable=False)

    objects: ClassVar[DatasetManager] = DatasetManager()
    with_deleted: ClassVar[models.Manager[Dataset]] = models.Manager()

    class Meta:
        ordering = ["dataset_id"]
        constraints = [
            models.UniqueConstraint(
                fields=["dataset_id"],
                condition=Q(deleted_at=None),
                name="dataset_id_once",
                violation_error_code="unique",  # so that forms show it at the field
                violation_error_message="Dataset with this ID already exists.",
            ),
            models.CheckConstraint(condition=Q(visibility__in=["public", "private"]), name="dataset_visibility_known"),
        ]
        indexes = [
            models.Index(fields=["-changed_at", "-id"], condition=Q(deleted_at=None), name="dataset_by_change"),
            models.Index(fields=["-created_at", "-id"], condition=Q(deleted_at=None), name="dataset_by_creation"),
            models.Index(fields=["sort_name", "id"], condition=Q(deleted_at=None), name="dataset_by_name"),
            models.Index(
                fields=["state_order", "sort_name", "id"], condition=Q(deleted_at=None), name="dataset_by_state"
            ),
            models.Index(
                fields=["state_order", "-changed_at", "-id"], condition=Q(deleted_at=None), name="dataset_in_state"
            ),
        ]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("dataset", args=[self.dataset_id])

    @property
    def title(self) -> str:
        return self.name or self.dataset_id

    def count_samples(self) -> int:
        """Return how many samples have their files."""
        if self.sample_count is not None:
            return self.sample_count
        return Sample.objects.present().filter(dataset=self).count()

    def missing_samples(self) -> SampleQuerySet:
        """The samples whose files are gone, without those that are forgotten."""
        missing = Sample.objects.missing().filter(dataset=self)
        if self.missing_forgotten_at is not None:
            missing = missing.filter(missing_since__gt=self.missing_forgotten_at)
        return missing


class StateCount(models.Model):
    """A change in how many datasets of a visibility have a state. The sum of all rows is how many have it now.

    `state_counts` keeps the table.
    """

    visibility = models.CharField(max_length=7)
    state_order = models.PositiveSmallIntegerField()
    count = models.IntegerField(help_text="Negative where more left this state than came.")

    def __str__(self) -> str:
        return f"{self.count:+} {self.visibility} in state {self.state_order}"


class Membership(models.Model):
    """A member of a dataset, and what the member may do with it. All members see it."""

    class Role(models.TextChoices):
        """Each role may do what those before it may."""

        VIEW = "view", "View"
        REPORT = "report", "Report"
        STEER = "steer", "Steer"

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    role = models.CharField(
        max_length=6,
        choices=Role,
        default=Role.REPORT,
        db_default=Role.REPORT.value,
        help_text="View: see it. Report: also report on it. Steer: also pause, cancel, process and retry it.",
    )

    class Meta:
        ordering = ["dataset", "user"]
        constraints = [
            models.UniqueConstraint(fields=["dataset", "user"], name="membership_once"),
            models.CheckConstraint(condition=Q(role__in=["view", "report", "steer"]), name="membership_role_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.dataset}"


class ReservedPrefix(models.Model):
    """The start of dataset IDs that only the users of a team may create. Staff and the site's own tokens may as well.

    Several teams may share a prefix. Where several prefixes match an ID, the longest decides.
    """

    prefix = models.CharField(
        max_length=128,
        validators=[RegexValidator(rf"\A{DATASET_ID_PATTERN}\Z", "Use the start of an ID: team-a-")],
        help_text="For example team-a- or team-a-*: all IDs that start with team-a-, in capitals or not.",
    )
    team = models.ForeignKey("auth.Group", on_delete=models.CASCADE, related_name="+")

    class Meta:
        ordering = ["prefix"]
        verbose_name_plural = "reserved prefixes"
        constraints = [models.UniqueConstraint(fields=["prefix", "team"], name="reserved_prefix_once_a_team")]

    def __str__(self) -> str:
        return f"{self.prefix}* for {self.team}"

    def clean_fields(self, exclude: Collection[str] | None = None) -> None:
        """Take ``team-a-*`` for ``team-a-``. Raises `ValidationError`."""
        self.prefix = self.prefix.removesuffix("*")
        super().clean_fields(exclude)


class Token(models.Model):
    """A bearer token of the API. It acts for its user, or for the site where it has none.

    Only the hash of its secret is stored.
    """

    name = models.CharField(max_length=100, help_text="For example: nightly embedding.")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE, related_name="tokens"
    )
    digest = models.CharField(max_length=64, unique=True, editable=False)
    start = models.CharField(max_length=12, editable=False, help_text="The first characters of its secret.")
    datasets = models.CharField(
        max_length=1000,
        default="*",
        help_text="Dataset IDs, separated by commas. team-a-* covers every ID that starts with team-a-; * covers all.",
    )
    can_write = models.BooleanField("can report", default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.start}…)"

    def clean(self) -> None:
        """Bring the patterns into one form. Raises `ValidationError`."""
        self.datasets = ",".join(parse_patterns(self.datasets))

    @property
    def patterns(self) -> list[str]:
        return self.datasets.split(",")

    def covers(self, dataset_id: str) -> bool:
        return covers(self.patterns, dataset_id)

    @property
    def has_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()

    @property
    def is_active(self) -> bool:
        """Whether it can be used now: neither revoked nor expired, and its account is not closed."""
        if self.revoked_at is not None or self.has_expired:
            return False
        return self.user is None or self.user.is_active


class EmbeddingBlock(models.Model):
    """The vectors of one chunk of samples, as one row.

    It is written in the transaction that marks the chunk as done, so vectors and progress always agree. A search reads
    the blocks of a dataset: a few hundred rows, where a row for each sample would be half a million. A sample that is
    embedded again points to its new block; its vector in the old block is no longer used.
    """

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="embedding_blocks")
    embedder = models.CharField(max_length=100)
    dimensions = models.PositiveIntegerField()
    sample_ids = models.BinaryField(help_text="int64, little-endian, one for each row of `vectors`")
    vectors = models.BinaryField(help_text="float32, little-endian, row-major, each row of length 1")

    class Meta:
        verbose_name = "block of embeddings"
        verbose_name_plural = "blocks of embeddings"
        constraints = [
            models.CheckConstraint(condition=Q(dimensions__gte=1), name="embedding_block_dimensions_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.embedder}, {self.dimensions} dimensions"


class SampleQuerySet(models.QuerySet["Sample"]):
    def present(self) -> SampleQuerySet:
        return self.filter(missing_since=None)

    def missing(self) -> SampleQuerySet:
        """Those whose files are gone. They keep their thumbnails and vectors, and come back with their files."""
        return self.filter(missing_since__isnull=False)


class Sample(models.Model):
    """One image that could be read. An image that could not be read is an `ItemFailure` of the run, not a sample."""

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="samples")
    path = models.CharField(max_length=1024, help_text="Relative to the dataset's folder, with forward slashes.")
    size = models.PositiveBigIntegerField(help_text="bytes")
    mtime_ns = models.BigIntegerField(help_text="When the file was last modified, as of its reading, in nanoseconds.")
    sha256 = models.CharField(max_length=64)
    format = models.CharField(max_length=8)
    width = models.PositiveIntegerField(help_text="pixels, after its EXIF orientation is applied")
    height = models.PositiveIntegerField(help_text="pixels, after its EXIF orientation is applied")
    thumbnail_width = models.PositiveSmallIntegerField()
    thumbnail_height = models.PositiveSmallIntegerField()
    seen_in_run = models.PositiveBigIntegerField(help_text="The number of the last run that found this file.")
    missing_since = models.DateTimeField(null=True, blank=True, help_text="When a run saw that its file is gone.")
    damage = models.CharField(
        max_length=200, default="", db_default="", blank=True, help_text="What of the picture could not be decoded."
    )
    note = models.CharField(
        max_length=200, default="", db_default="", blank=True, help_text="How its values became those of the thumbnail."
    )
    embedding_block = models.ForeignKey(
        EmbeddingBlock, null=True, blank=True, on_delete=models.SET_NULL, related_name="samples"
    )

    objects: ClassVar[SampleQuerySet] = SampleQuerySet.as_manager()  # type: ignore[assignment]  # the stubs type it as a plain manager

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["dataset", "path"], name="sample_once_a_path"),
        ]
        indexes = [
            # The gallery lists a dataset by id, from a cursor.
            models.Index(fields=["dataset", "id"], condition=Q(missing_since=None), name="sample_gallery"),
            models.Index(
                fields=["dataset", "id"], condition=Q(missing_since=None) & ~Q(damage=""), name="sample_damaged"
            ),
            models.Index(
                fields=["dataset", "missing_since"], condition=Q(missing_since__isnull=False), name="sample_missing"
            ),
            # A thumbnail is kept while any sample of the dataset has its content.
            models.Index(fields=["dataset", "sha256"], name="sample_content"),
        ]

    def __str__(self) -> str:
        return self.path


class NearDuplicate(models.Model):
    """A sample of a group of near-duplicates. The first of a group is 1 similar, and its id is the group's."""

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="near_duplicates")
    sample = models.OneToOneField(Sample, on_delete=models.CASCADE, related_name="near_duplicate")
    group = models.BigIntegerField()
    score = models.FloatField(help_text="The cosine to the most similar of the earlier samples.")

    class Meta:
        indexes = [models.Index(fields=["dataset", "group"], name="near_duplicate_group")]

    def __str__(self) -> str:
        return f"{self.sample} in group {self.group}"
