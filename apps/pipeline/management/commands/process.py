"""`manage.py process PATH --dataset ID`: queue a run over a folder. ``--wait`` shows its progress."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, BooleanOptionalAction
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from apps.core.text import printable
from apps.datasets.models import Dataset
from apps.pipeline.images.folders import FolderRefused, readable_folder
from apps.pipeline.images.selection import PatternsRefused, clean_patterns
from apps.pipeline.schedules import Schedule, ScheduleRefused
from apps.pipeline.services import OtherFolder, process_folder
from apps.progress import listening
from apps.progress.errors import RunUnfinished
from apps.progress.health import WORDS
from apps.progress.models import Run
from apps.progress.percentage import whole
from apps.progress.selectors import failure_note, progress_of
from apps.progress.snapshot import DatasetProgress
from apps.progress.transitions import State

SECONDS_BETWEEN_QUERIES = 0.25
INTERRUPTED = 130


class Command(BaseCommand):
    help = "Queue a folder of images to be indexed and embedded. A worker (`manage.py worker`) does the work."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("path", help="the folder")
        parser.add_argument("--dataset", required=True, metavar="ID", help="the dataset; created if it does not exist")
        parser.add_argument("--name", default="", help="a name to show in place of the id")
        parser.add_argument(
            "--replace", action="store_true", help="read the dataset from this folder, even if it was read from another"
        )
        parser.add_argument(
            "--forget-missing",
            action="store_true",
            help="at the end of the run, forget the samples whose files are gone, with thumbnails and embeddings",
        )
        parser.add_argument(
            "--exclude",
            action="append",
            metavar="PATTERN",
            help="leave out the files that match, in gitignore's syntax; may be given several times; kept for later"
            ' runs, until it is given again ("": none)',
        )
        parser.add_argument(
            "--include",
            action="append",
            metavar="PATTERN",
            help="look only at the files that match; otherwise as --exclude",
        )
        parser.add_argument(
            "--follow-links",
            action=BooleanOptionalAction,
            help="follow links wherever they lead, in later runs too; otherwise below the folder and FOLLOW_LINKS_TO",
        )
        schedule = parser.add_mutually_exclusive_group()
        schedule.add_argument("--every", metavar="INTERVAL", help="process it again so often: 30m, 6h, 2d")
        schedule.add_argument("--at", metavar="TIME", help="process it again every day at this time: 02:30")
        schedule.add_argument("--no-schedule", action="store_true", help="process it again only when somebody asks")
        parser.add_argument(
            "--wait", action="store_true", help="show a progress bar until the end; exit 0 on ready, 1 on error"
        )

    def handle(
        self,
        *,
        path: str,
        dataset: str,
        name: str,
        replace: bool,
        forget_missing: bool,
        include: list[str] | None,
        exclude: list[str] | None,
        follow_links: bool | None,
        every: str | None,
        at: str | None,
        no_schedule: bool,
        wait: bool,
        **options: Any,
    ) -> None:
        try:
            run = process_folder(
                readable_folder(path),
                dataset_id=dataset,
                name=name,
                replace=replace,
                forget_missing=forget_missing,
                include=None if include is None else clean_patterns(include),
                exclude=None if exclude is None else clean_patterns(exclude),
                follow_links=follow_links,
                schedule=Schedule.parse(every=every or "", at=at or "") if every or at or no_schedule else None,
            )
        except (FolderRefused, PatternsRefused, ScheduleRefused) as error:
            raise CommandError(printable(str(error)), returncode=2) from None
        except OtherFolder as error:
            hint = "Pass --replace to read it from there from now on; samples that are not there will be missing."
            raise CommandError(printable(f"{error} {hint}"), returncode=2) from None
        except ValidationError as error:
            raise CommandError(printable(" ".join(error.messages)), returncode=2) from None
        except RunUnfinished:
            raise CommandError(f"{dataset} is already being processed.", returncode=2) from None
        self.stdout.write(f"Queued run {run.number} of {dataset}.")
        if wait:
            try:
                sys.exit(0 if _watch(run) == State.READY else 1)
            except Dataset.DoesNotExist:
                raise CommandError(f"{dataset} was deleted.", returncode=1) from None
            except KeyboardInterrupt:
                self.stderr.write(f"Run {run.number} of {dataset} continues in the background.")
                sys.exit(INTERRUPTED)


def _watch(run: Run) -> State:
    """Show a bar until ``run`` has ended. Returns its final state."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[percent]:>4}"),
        TimeElapsedColumn(),
    )
    console = Console(markup=False, emoji=False, highlight=False)
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("Waiting for a worker", total=None, percent="")
        while True:
            listening.read()
            progress = progress_of(run.dataset_id)
            if progress.run != run.number or progress.is_finished:
                break
            if progress.is_working:
                bar.update(
                    task,
                    description=printable(condition(progress)),
                    completed=progress.current,
                    total=progress.total or None,
                    percent=f"{whole(progress.current, progress.total)}%" if progress.total else "",
                )
            time.sleep(SECONDS_BETWEEN_QUERIES)
        # Read the run itself: the dataset may show a newer one.
        run.refresh_from_db()
        ready = run.state == State.READY
        bar.update(
            task,
            description="Ready" if ready else "Error",
            completed=int(ready),
            total=1,
            percent="100%" if ready else "",
        )
    if not ready:
        console.print(printable("\n".join(filter(None, [run.error, failure_note(run)])), lines=True), style="red")
    elif progress.run == run.number:
        console.print(_summary(progress))
    return State(run.state)


def condition(progress: DatasetProgress) -> str:
    """Return what a run that works is at, in the words of the pages: what it lacks, else its message."""
    if progress.paused:
        return "Paused"
    if progress.is_waiting:
        return "Waiting for a worker"
    lack = WORDS.get(progress.health, "") if progress.health else ""
    return ", ".join(filter(None, (lack, progress.message)))


def _summary(progress: DatasetProgress) -> str:
    summary = f"{progress.total:,} {'sample' if progress.total == 1 else 'samples'}"
    if progress.failed:
        summary += f", {progress.failed:,} {'file' if progress.failed == 1 else 'files'} failed"
    return f"{summary}. {progress.message}" if progress.message else summary
