"""Where a dataset's files are, and how far the work on them is: what a worker needs to take up a run, or over."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from apps.datasets.models import Dataset
from apps.progress.models import Run


class Source(models.Model):
    """The folder that a dataset is read from, by its real path: a link put in its place later is not followed."""

    dataset = models.OneToOneField(Dataset, primary_key=True, on_delete=models.CASCADE, related_name="source")
    folder = models.CharField(max_length=4096, help_text="An absolute path on the machines where the workers run.")

    def __str__(self) -> str:
        return self.folder


class Job(models.Model):
    """A run of the built-in pipeline, and the worker that has it.

    A worker holds a job by a claim, and renews its lease for as long as it lives. A lease that has run out may be
    claimed by another worker; every commit of the first one compares its claim, so it cannot write any more.
    """

    class Phase(models.TextChoices):
        SCAN = "scan", "Scan"
        INDEX = "index", "Index"
        EMBED = "embed", "Embed"

    run = models.OneToOneField(Run, primary_key=True, on_delete=models.CASCADE, related_name="job")
    phase = models.CharField(max_length=5, choices=Phase, default=Phase.SCAN)
    claim = models.CharField(max_length=32, blank=True, help_text="Empty: no worker has it.")
    lease_until = models.DateTimeField(null=True, blank=True)
    task_id = models.CharField(max_length=36, blank=True, help_text="The task that is to process it, or did last.")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(phase__in=["scan", "index", "embed"]), name="job_phase_known"),
            models.CheckConstraint(
                condition=Q(claim="", lease_until__isnull=True) | (~Q(claim="") & Q(lease_until__isnull=False)),
                name="job_claim_has_a_lease",
            ),
        ]

    def __str__(self) -> str:
        return f"job of {self.run}"


class Chunk(models.Model):
    """Some of a job's work: what is handed to a process at once, and committed at once with its results.

    ``items`` of an index chunk are [path, size, mtime_ns], those of an embed chunk [sample id, SHA-256]. Of one that is
    done nothing is left but, of an index chunk, the SHA-256 of content that its samples had before: thumbnails that
    nobody needs once the phase is over. The chunks of a run are deleted when it ends.
    """

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="chunks")
    phase = models.CharField(max_length=5, choices=Job.Phase)
    position = models.PositiveIntegerField()
    items = models.JSONField()
    size = models.PositiveIntegerField(help_text="The number of items.")
    done = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["job", "phase", "position"], name="chunk_once"),
        ]
        indexes = [
            models.Index(fields=["job", "phase", "position"], condition=Q(done=False), name="chunk_to_do"),
        ]

    def __str__(self) -> str:
        return f"{self.phase} chunk {self.position} of {self.job}"
