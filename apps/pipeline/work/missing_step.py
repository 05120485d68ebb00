"""The samples that a run did not find: those whose files are gone become missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django.db.models.functions import Now

from apps.core.beneath import Folder
from apps.datasets import services as datasets
from apps.datasets.models import Sample
from apps.pipeline.images.absence import Absence
from apps.pipeline.images.folders import reach_of, selection_of
from apps.pipeline.models import Job, Source
from apps.pipeline.stages import INDEX
from apps.progress import services as progress

from .lease import Lease

SAMPLES_AT_ONCE: Final = 500


def mark_missing_samples(job: Job, source: Source, lease: Lease, look: Callable[[], None]) -> None:
    """Mark the samples whose files are gone as missing. Each file is looked for once more.

    What keeps the other samples that were not found is a failure of the run. ``look`` is called before each file, and
    may raise to stop.
    """
    # Older than this run, and not merely of another: a run that came later may have found them.
    unseen = Sample.objects.present().filter(dataset=job.run.dataset_id, seen_in_run__lt=job.run.number)
    keeps_remounted = False
    last = 0
    with Folder(source.folder, reach_of(source)) as folder:
        absence = Absence(folder, _remounted(source, job), selection_of(source))
        while rows := list(unseen.filter(pk__gt=last).order_by("pk").values_list("pk", "path")[:SAMPLES_AT_ONCE]):
            sights = {}
            for pk, path in rows:
                look()
                sights[pk] = absence.look(path)
            kept = {sight.directory: sight.reason for sight in sights.values() if sight.reason}
            with lease.transaction():
                gone = unseen.filter(pk__in=[pk for pk, sight in sights.items() if sight.is_gone])
                gone_count = gone.update(missing_since=Now())
                job.gone += gone_count
                job.save(update_fields=["gone"])
                if kept:
                    failures = [(directory or ".", reason) for directory, reason in kept.items()]
                    progress.record_failures(job.run_id, INDEX, failures)
                datasets.add_to_sample_count(job.run.dataset_id, -gone_count)
            present = [path for pk, path in rows if not sights[pk].is_gone]
            keeps_remounted |= any(absence.remounted_above(path) is not None for path in present)
            last = rows[-1][0]
    if not keeps_remounted:
        with lease.transaction():
            Source.objects.filter(pk=source.pk).update(mounts=job.mounts)


def _remounted(source: Source, job: Job) -> list[str]:
    """Return the directories on which another file system is mounted than before, or on one side none.

    "" stands for the folder.
    """
    if source.mounts is None:
        return []
    changed = source.mounts.items() ^ job.mounts.items()
    return sorted({"" if path.startswith("/") else path for path, _ in changed})
