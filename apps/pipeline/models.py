"""The folder of a dataset, the job of a run, and the chunks of a job: all that a worker needs to continue a run."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from apps.datasets.models import Dataset
from apps.progress.models import Run


class Source(models.Model):
    """The folder that a dataset is read from.

    The path is a real path. If the folder is replaced by a link later, the link is not followed. Each run checks a
    folder that was chosen in the browser against ``IMPORT_ROOTS`` again.
    """

    dataset = models.OneToOneField(Dataset, primary_key=True, on_delete=models.CASCADE, related_name="source")
    folder = models.CharField(max_length=4096, help_text="An absolute path on the machines where the workers run.")
    # As in `Job`, of the last run that kept no sample because of them.
    mounts = models.JSONField(null=True, editable=False)

    include = models.TextField(
        default="", db_default="", blank=True, help_text="Only these files: gitignore's patterns, one a line."
    )
    exclude = models.TextField(
        default="", db_default="", blank=True, help_text="Not these files: gitignore's patterns, one a line."
    )
    follow_links = models.BooleanField(
        default=False, db_default=False, help_text="Follow links wherever they lead. Set on the command line alone."
    )
    from_browser = models.BooleanField(default=False, help_text="Whether it was chosen on a page of this site.")
    every_minutes = models.PositiveIntegerField(
        null=True, blank=True, help_text="It is processed again after so many minutes."
    )
    daily_at = models.TimeField(
        null=True, blank=True, help_text="It is processed again at this time of day, in the site's time zone."
    )
    next_run_at = models.DateTimeField(
        null=True, blank=True, db_index=True, help_text="When it is processed again; empty: when somebody asks for it."
    )

    class Meta:
        verbose_name = "folder"
        constraints = [
            models.CheckConstraint(
                condition=Q(every_minutes__isnull=True, daily_at__isnull=True, next_run_at__isnull=True)
                | Q(every_minutes__isnull=False, daily_at__isnull=True, next_run_at__isnull=False)
                | Q(every_minutes__isnull=True, daily_at__isnull=False, next_run_at__isnull=False),
                name="source_schedule_is_one",
            ),
        ]

    def __str__(self) -> str:
        return self.folder


class Job(models.Model):
    """A run of the built-in pipeline, and the worker that holds it.

    A worker writes its token and the end of its lease, and renews the lease while it lives. Once a lease has ended,
    another worker may take the job. Every transaction confirms the token, so the first worker can no longer write.
    """

    class Phase(models.TextChoices):
        SCAN = "scan", "Scan"
        INDEX = "index", "Index"
        EMBED = "embed", "Embed"

    run = models.OneToOneField(Run, primary_key=True, on_delete=models.CASCADE, related_name="job")
    phase = models.CharField(max_length=5, choices=Phase, default=Phase.SCAN)
    lease_token = models.CharField(max_length=32, blank=True, help_text="Empty: no worker holds it.")
    lease_until = models.DateTimeField(null=True, blank=True)
    planned = models.PositiveIntegerField(default=0, help_text="The number of files that the scan found.")
    mounts = models.JSONField(
        default=dict,
        help_text="Where the folder's file system is mounted, and the mount points below the folder: which, by path.",
    )
    gone = models.PositiveIntegerField(default=0, help_text="The number of files that are gone since the last run.")
    forget_missing = models.BooleanField(default=False, help_text="Forget missing samples at the end of the run.")
    only_failed = models.BooleanField(
        default=False, db_default=False, help_text="Only the files on which the last run failed are read."
    )
    attempts = models.PositiveSmallIntegerField(default=0, help_text="Attempts in a row that ended without progress.")
    task_id = models.CharField(max_length=36, blank=True, help_text="The task that will process it, or did last.")
    is_held = models.BooleanField(
        default=False, db_default=False, help_text="It waits for a place in its batch, and has no task."
    )

    class Meta:
        verbose_name = "job of a worker"
        verbose_name_plural = "jobs of workers"
        indexes = [models.Index(fields=["run"], condition=Q(is_held=True), name="job_held")]
        constraints = [
            models.CheckConstraint(condition=Q(phase__in=["scan", "index", "embed"]), name="job_phase_known"),
            models.CheckConstraint(
                condition=Q(lease_token="", lease_until__isnull=True)
                | (~Q(lease_token="") & Q(lease_until__isnull=False)),
                name="job_lease_has_an_end",
            ),
        ]

    def __str__(self) -> str:
        return f"job of {self.run}"

    def enter_phase(self, phase: Phase) -> None:
        self.phase = phase
        self.attempts = 0
        self.save(update_fields=["phase", "attempts"])


class Chunk(models.Model):
    """Items that are handed to a process at once, and committed at once with their results.

    The ``items`` of an index chunk are [path, size, mtime_ns], those of an embed chunk [sample id, SHA-256]. When a
    chunk is done, they are replaced by the SHA-256 of the contents that its samples had before. The thumbnails of those
    are deleted when the phase ends. The chunks of a run are deleted when the run ends.
    """

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="chunks")
    phase = models.CharField(max_length=5, choices=Job.Phase)
    position = models.PositiveIntegerField()
    items = models.JSONField()
    size = models.PositiveIntegerField(help_text="The number of items.")
    done = models.BooleanField(default=False)

    class Meta:
        verbose_name = "chunk of work"
        verbose_name_plural = "chunks of work"
        constraints = [
            models.UniqueConstraint(fields=["job", "phase", "position"], name="chunk_once"),
        ]
        indexes = [
            models.Index(fields=["job", "phase", "position"], condition=Q(done=False), name="chunk_to_do"),
        ]

    def __str__(self) -> str:
        return f"{self.phase} chunk {self.position} of {self.job}"
