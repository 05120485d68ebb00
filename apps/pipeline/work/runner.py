"""Processes a run: scan, index, embed, each from where the last worker left it.

What a chunk yields and how far the run is are committed together. A worker killed at any moment has therefore lost
the chunks under way and nothing else, and none of what it committed is done again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from enum import StrEnum
from typing import Any

from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.db import DatabaseError, transaction

from apps.datasets.models import EmbeddingBlock, Sample
from apps.pipeline.images.folders import FolderRefused
from apps.pipeline.images.media import drop_orphans
from apps.pipeline.models import Chunk, Job, Source
from apps.progress import services as progress
from apps.progress.errors import RunFinished
from apps.progress.models import ItemFailure, Run

from .chunks import drop_replaced, forget_missing, plan_embedding, plan_indexing
from .lease import Claim, Superseded
from .pool import Pool
from .steps import EmbedStep, IndexStep, Step

logger = logging.getLogger(__name__)

# Set when this process is asked to end: the runner then lets its job go at the next chunk.
stopping = threading.Event()


class Outcome(StrEnum):
    READY = "ready"
    ERROR = "error"
    CANCELLED = "cancelled"
    RELEASED = "released"  # paused, or this worker is stopping: another task goes on with it
    SUPERSEDED = "superseded"  # another worker has it, or it is over or gone


class _Hold(Exception):
    """The job is to be let go, unfinished."""


class _Cancel(Exception):
    """The run is to end because someone asked for it."""


class Runner:
    """One worker's attempt at one run."""

    def __init__(self, run_pk: int, stop: threading.Event = stopping) -> None:
        self.run_pk = run_pk
        self.stop = stop

    def process(self) -> Outcome:
        """Go on with the run until it ends or has to be let go. Raises `DatabaseError` where the database fails; the
        lease then runs out, and the sweeper queues the job again.
        """
        with Claim(self.run_pk) as claim:
            if not claim.held:
                return Outcome.SUPERSEDED
            try:
                return self._work(claim)
            except (Superseded, RunFinished, ObjectDoesNotExist):
                drop_orphans()
                return Outcome.SUPERSEDED
            except _Hold:
                return Outcome.RELEASED
            except _Cancel:
                progress.cancel(self.run_pk)
                return Outcome.CANCELLED
            except DatabaseError:
                raise
            except Exception as error:
                logger.exception("run %s failed", self.run_pk)
                said = str(error) if isinstance(error, OSError | FolderRefused) else f"{type(error).__name__}: {error}"
                progress.fail(self.run_pk, said)
                return Outcome.ERROR

    def _work(self, claim: Claim) -> Outcome:
        job = Job.objects.select_related("run__dataset").get(pk=self.run_pk)
        source = Source.objects.get(dataset=job.run.dataset)
        self._obey(job.run)
        with Pool(settings.PIPELINE_PROCESSES) as pool:
            if job.phase == Job.Phase.SCAN:
                plan_indexing(job, source, claim, self._obey)
            if job.phase == Job.Phase.INDEX:
                self._chunks(job, IndexStep(job, source, claim), pool)
                forget_missing(job)
                drop_replaced(job)
                plan_embedding(job, claim)
            self._chunks(job, EmbedStep(job, claim), pool)
        self._finish(job, claim)
        return Outcome.READY

    def _obey(self, run: Run) -> None:
        """Do as the people in charge ask, as of ``run``; and let the job go where this process is asked to end."""
        if run.control == Run.Control.CANCEL:
            raise _Cancel
        if run.control == Run.Control.PAUSE or self.stop.is_set():
            raise _Hold

    def _chunks(self, job: Job, step: Step[Any], pool: Pool) -> None:
        """Put every chunk of a step that is not done through the pool, a few ahead of the processes."""
        chunks = _to_do(job, step.name)
        under_way: dict[Future[Any], Chunk] = {}
        try:
            while True:
                while len(under_way) < 2 * pool.processes and (chunk := next(chunks, None)) is not None:
                    under_way[step.submit(pool, chunk)] = chunk
                if not under_way:
                    return
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    chunk = under_way.pop(future)
                    try:
                        result = future.result()
                    except Exception as error:
                        # Whoever ends this process may end its children in the same breath.
                        if isinstance(error, BrokenProcessPool) and self.stop.is_set():
                            raise _Hold from None
                        result = step.one_by_one(pool, chunk, error)
                    self._obey(step.commit(chunk, result))
        finally:
            for future in under_way:
                future.cancel()

    def _finish(self, job: Job, claim: Claim) -> None:
        with transaction.atomic():
            claim.confirm()
            progress.finish(self.run_pk, message=self._nothing_found(job.run))
            Chunk.objects.filter(job=job).delete()
            # Blocks that later runs have replaced to the last row.
            EmbeddingBlock.objects.filter(dataset=job.run.dataset_id, samples__isnull=True).delete()

    def _nothing_found(self, run: Run) -> str:
        """What to say of a dataset without a sample; empty where there is one."""
        if Sample.objects.filter(dataset=run.dataset_id).exists():
            return ""
        has_failures = ItemFailure.objects.filter(run=run).exists()
        return "None of its images could be read." if has_failures else "No image was found in its folder."


def _to_do(job: Job, phase: str) -> Iterator[Chunk]:
    """The chunks that are not done, in order.

    They are fetched by the dozen: a cursor left open over the commits in between would hold an old view of the
    database, from which SQLite refuses to write.
    """
    position = -1
    while True:
        page = list(
            Chunk.objects.filter(job=job, phase=phase, done=False, position__gt=position).order_by("position")[:16]
        )
        if not page:
            return
        yield from page
        position = page[-1].position
