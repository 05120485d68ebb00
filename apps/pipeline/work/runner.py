"""One worker's attempt at a run: scan, index and embed, each from where the last worker stopped.

A chunk's results and its progress are committed together. A worker that is killed therefore loses the chunks that were
in the pool and nothing else, and nothing that was committed is done again.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.db import Error, connection
from django.db.models import Count

from apps.core.beneath import OutsideFolder
from apps.core.outages import is_outage
from apps.core.text import one_line
from apps.datasets import services as datasets
from apps.datasets.models import Dataset, Sample
from apps.pipeline.images.folders import FolderRefused
from apps.pipeline.images.selection import describe
from apps.pipeline.models import Chunk, Job, Source
from apps.progress import services as progress
from apps.progress.errors import RunFinished
from apps.progress.models import ItemFailure, Run
from apps.progress.origin import this_process

from .attempts import count_attempt
from .chunks import check_plan, pending_chunks
from .cleanup import delete_chunks, delete_orphaned_thumbnails, delete_replaced_blocks, delete_replaced_thumbnails
from .duplicates_step import find_near_duplicates
from .embed_step import EmbedStep, plan_embedding
from .index_step import IndexStep
from .lease import Lease, LeaseLost, hold
from .missing_step import mark_missing_samples
from .pool import LOOK_SECONDS, Pool
from .retry_step import plan_retry
from .scan_step import ScanStep
from .step import Step, StopRequested

logger = logging.getLogger(__name__)

# Set when this process is asked to stop. The runner then releases its job within a second.
stopping = threading.Event()


# Errors of a disk that pass once somebody makes room or repairs it. The run is released, and tried again.
OUT_OF_SERVICE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})


class Outcome(StrEnum):
    READY = "ready"
    ERROR = "error"
    CANCELLED = "cancelled"
    RELEASED = "released"  # paused, refused by the database, or this worker is stopping: another task continues the run
    INTERRUPTED = "interrupted"  # the database was locked or gone: the sweeper queues the job again
    SUPERSEDED = "superseded"  # another worker holds the run, or the run has ended or is gone


class _ReleaseRequested(StopRequested):
    """The job is to be released unfinished: someone paused the run, or this worker is stopping."""


class _CancelRequested(StopRequested):
    """Someone cancelled the run."""


class Runner:
    """One worker's attempt at one run."""

    def __init__(self, run_pk: int, stop: threading.Event = stopping) -> None:
        self.run_pk = run_pk
        self.stop = stop

    def process(self) -> Outcome:
        """Continue the run until it ends or the job is released."""
        try:
            return self._take_and_attempt()
        except Error as error:
            if not is_outage(error):
                raise
            connection.close()
            logger.warning("run %s is interrupted by its database: %s", self.run_pk, one_line(error))
            return Outcome.INTERRUPTED

    def _take_and_attempt(self) -> Outcome:
        try:
            with hold(self.run_pk) as lease:
                return Outcome.SUPERSEDED if lease is None else self._attempt(lease)
        except (LeaseLost, RunFinished, ObjectDoesNotExist):
            delete_orphaned_thumbnails()
            return Outcome.SUPERSEDED

    def _attempt(self, lease: Lease) -> Outcome:
        try:
            self._run_phases(lease)
        except (LeaseLost, RunFinished, ObjectDoesNotExist):
            raise
        except Error as error:
            if is_outage(error):
                raise
            logger.exception("an attempt at run %s ended", self.run_pk)
            with lease.transaction():
                is_last = count_attempt(self.run_pk, _error_message(error), _error_note(error))
            return Outcome.ERROR if is_last else Outcome.RELEASED
        except _ReleaseRequested:
            with lease.transaction():
                progress.acknowledge(self.run_pk)
            return Outcome.RELEASED
        except _CancelRequested:
            with lease.transaction():
                progress.cancel(self.run_pk)
            return Outcome.CANCELLED
        except Exception as error:
            if isinstance(error, OSError) and error.errno in OUT_OF_SERVICE:
                with lease.transaction():
                    progress.report(self.run_pk, message=f"{error.strerror}. Trying again...")
                logger.warning("run %s waits for its disk: %s", self.run_pk, one_line(error))
                return Outcome.RELEASED
            with lease.transaction():
                progress.fail(self.run_pk, _error_message(error), note=_error_note(error))
            logger.exception("run %s failed", self.run_pk)
            return Outcome.ERROR
        return Outcome.READY

    def _run_phases(self, lease: Lease) -> None:
        progress.note_origin(self.run_pk, this_process())
        job = Job.objects.select_related("run__dataset").get(pk=self.run_pk)
        source = Source.objects.get(dataset=job.run.dataset)
        self._check_control(job.run)
        look = self._look_often(lease)
        with Pool(settings.PIPELINE_PROCESSES, seconds=settings.ITEM_SECONDS, look=partial(self._look, lease)) as pool:
            if job.phase == Job.Phase.SCAN and job.only_failed and not plan_retry(job, source, lease, look):
                job.only_failed = False
                job.save(update_fields=["only_failed"])
            if job.phase == Job.Phase.SCAN:
                ScanStep(job, source, lease, self._check_control).run()
            if job.phase == Job.Phase.INDEX:
                self._run_step(IndexStep(job, source, lease), pool)
                check_plan(job)
                if not job.only_failed:
                    mark_missing_samples(job, source, lease, look)
                delete_replaced_thumbnails(job, partial(self._look_and_write, lease))
                plan_embedding(job, lease, partial(self._look, lease))
            self._run_step(EmbedStep(job, lease), pool)
        find_near_duplicates(job, lease, look)
        self._finish(job, source, lease)

    def _look(self, lease: Lease) -> None:
        """Look at what is asked of the run while an item takes long, and renew the lease."""
        with lease.transaction():
            run = Run.objects.get(pk=self.run_pk)
        self._check_control(run)

    @contextmanager
    def _look_and_write(self, lease: Lease) -> Iterator[None]:
        """A transaction of the lease, before which this looks at what is asked of the run."""
        self._look(lease)
        with lease.transaction():
            yield

    def _look_often(self, lease: Lease) -> Callable[[], None]:
        """Return a function that looks once in `LOOK_SECONDS`, however often it is called."""
        looked_at = time.monotonic()

        def look() -> None:
            nonlocal looked_at
            if time.monotonic() - looked_at >= LOOK_SECONDS:
                self._look(lease)
                looked_at = time.monotonic()

        return look

    def _check_control(self, run: Run) -> None:
        """Raise if someone paused or cancelled the run, as ``run`` says, or if this worker is stopping."""
        if run.control == Run.Control.CANCEL:
            raise _CancelRequested
        if run.control == Run.Control.PAUSE or self.stop.is_set():
            raise _ReleaseRequested

    def _run_step(self, step: Step[Any], pool: Pool) -> None:
        """Put the pending chunks of a step through the pool, a few more at a time than it has processes."""
        chunks = pending_chunks(step.job, step.name)
        began, items = time.monotonic(), 0
        submitted: dict[Future[Any], Chunk] = {}
        try:
            while True:
                while len(submitted) < 2 * pool.processes and (chunk := next(chunks, None)) is not None:
                    submitted[step.submit(pool, chunk)] = chunk
                if not submitted:
                    return
                for future in pool.wait(submitted):
                    chunk = submitted.pop(future)
                    result = self._result(future, step, pool, chunk)
                    self._check_control(step.commit(chunk, result))
                    items += len(result)  # files that have not changed take no time
                    while settings.PACE and (left := began + items / settings.PACE - time.monotonic()) > 0:
                        self.stop.wait(min(left, LOOK_SECONDS))
                        self._look(step.lease)
        finally:
            for future in submitted:
                future.cancel()

    def _result(self, future: Future[Any], step: Step[Any], pool: Pool, chunk: Chunk) -> Any:
        """The result of a chunk. If the chunk failed, its items are processed one by one."""
        try:
            return future.result()
        except Exception as error:
            # Whoever stops this process may stop the processes of its pool at the same moment.
            if isinstance(error, BrokenProcessPool) and self.stop.is_set():
                raise _ReleaseRequested from None
            return step.isolate(pool, chunk, error)

    def _finish(self, job: Job, source: Source, lease: Lease) -> None:
        delete_replaced_blocks(job, lease)
        samples, counts = _count_samples(job.run.dataset_id)
        with lease.transaction():
            progress.finish(self.run_pk, message=_closing_message(job, source, counts))
            # After the head, as reporters lock.
            datasets.note_file_counts(job.run.dataset_id, counts)
            datasets.set_sample_count(job.run.dataset_id, samples)
            if job.forget_missing:
                datasets.forget_missing_samples(job.run.dataset)
        delete_chunks(job)


def _error_message(error: Exception) -> str:
    """What everyone who sees the dataset is told: no path and no text of an exception, which are the server's."""
    match error:
        case FolderRefused() | OutsideFolder():
            reason = "Its folder cannot be read."
        case OSError(strerror=str(strerror)):
            reason = f"{strerror}."
        case _:
            reason = "The server failed."
    return f"{reason} Whoever may control the dataset sees why."


def _error_note(error: Exception) -> str:
    is_plain = isinstance(error, OSError | FolderRefused | OutsideFolder)
    return str(error) if is_plain else f"{type(error).__name__}: {error}"


def _closing_message(job: Job, source: Source, counts: Mapping[str, int]) -> str:
    """What to say about missing, damaged and double samples, no samples at all, and files that were not looked at.

    Empty where there is nothing of that. ``counts`` are those of `_count_samples`.
    """
    sentences = []
    files = {**Dataset.objects.get(pk=job.run.dataset_id).file_counts, **counts}
    if job.gone:
        word = "gone or excluded" if source.include or source.exclude else "gone"
        sentences.append(f"{job.gone:,} {'file is' if job.gone == 1 else 'files are'} {word} since the last run.")
    elif not Sample.objects.present().filter(dataset=job.run.dataset_id).exists():
        if ItemFailure.objects.filter(run=job.run).exists():
            sentences.append("None of its images could be read.")
        elif not (files.get("others") or files.get("excluded")):
            sentences.append("No image was found in its folder.")
    if copies := files.get("copies"):
        sentences.append(f"{copies:,} {'sample is a copy' if copies == 1 else 'samples are copies'} of another.")
    if damaged := files.get("damaged"):
        sentences.append(f"{damaged:,} {'sample is' if damaged == 1 else 'samples are'} damaged.")
    return " ".join(filter(None, [*sentences, describe(files)]))


def _count_samples(dataset_pk: int) -> tuple[int, dict[str, int]]:
    """Count the samples of a dataset; and those that are damaged, and the copies: those beyond one for each content.

    A file under several names is several samples of one content.
    """
    present = Sample.objects.present().filter(dataset=dataset_pk)
    counts = present.aggregate(samples=Count("pk"), contents=Count("sha256", distinct=True))
    damaged = present.exclude(damage="").count()
    return counts["samples"], {"copies": counts["samples"] - counts["contents"], "damaged": damaged}
