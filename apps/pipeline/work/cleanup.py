"""Delete what a dataset no longer needs: missing samples, unused thumbnails, chunks of runs that have ended."""

from __future__ import annotations

import shutil
from pathlib import Path

from apps.datasets.models import Dataset, Sample
from apps.pipeline.images.media import thumbnail_folder, thumbnail_root
from apps.pipeline.images.thumbnails import thumbnail_path
from apps.pipeline.models import Chunk, Job
from apps.pipeline.stages import INDEX
from apps.progress.transitions import FINISHED, UNFINISHED

ROWS_PER_DELETE = 500


def delete_missing_samples(job: Job) -> None:
    """Delete the samples whose files the run did not find, with their thumbnails."""
    missing = Sample.objects.filter(dataset=job.run.dataset_id).exclude(seen_in_run=job.run.number)
    while rows := list(missing.values_list("pk", "sha256")[:ROWS_PER_DELETE]):
        Sample.objects.filter(pk__in=[pk for pk, _ in rows]).delete()
        _delete_unused_thumbnails(job.run.dataset_id, {sha256 for _, sha256 in rows})


def delete_replaced_thumbnails(job: Job) -> None:
    """Delete the thumbnails of content that files had before they changed. The chunks that are done list it."""
    done = Chunk.objects.filter(job=job, phase=INDEX, done=True).exclude(items=[])
    for items in done.values_list("items", flat=True).iterator():
        _delete_unused_thumbnails(job.run.dataset_id, set(items))


def delete_orphaned_thumbnails() -> None:
    """Delete the thumbnails of deleted datasets, which processes wrote while their dataset was being deleted."""
    datasets = {str(pk) for pk in Dataset.objects.values_list("pk", flat=True)}
    root = thumbnail_root()
    for folder in root.iterdir() if root.is_dir() else ():
        if folder.name not in datasets:
            shutil.rmtree(folder, ignore_errors=True)


def delete_leftover_chunks() -> None:
    """Delete the chunks of runs that ended early, and the thumbnails that those runs replaced.

    A dataset with an unfinished run is left alone: that run may have found one of the thumbnails and count on it.
    """
    jobs = Job.objects.filter(run__state__in=FINISHED, chunks__isnull=False).exclude(
        run__dataset__runs__state__in=UNFINISHED
    )
    for job in jobs.select_related("run").distinct():
        delete_replaced_thumbnails(job)
        Chunk.objects.filter(job=job).delete()


def _delete_unused_thumbnails(dataset_pk: int, hashes: set[str]) -> None:
    """Delete the thumbnails of these contents, except those that a sample of the dataset still has."""
    used = Sample.objects.filter(dataset=dataset_pk, sha256__in=hashes).values_list("sha256", flat=True)
    for sha256 in hashes - set(used):
        Path(thumbnail_path(str(thumbnail_folder(dataset_pk)), sha256)).unlink(missing_ok=True)
