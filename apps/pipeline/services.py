"""Verbs of the pipeline for pages and commands: create a dataset from a folder, queue a run."""

from __future__ import annotations

from pathlib import Path

from django.db import transaction

from apps.datasets import services as datasets
from apps.datasets.access.creation import create
from apps.datasets.access.rules import Caller
from apps.datasets.models import Dataset
from apps.pipeline.images.folders import importable_folder, source_folder
from apps.pipeline.images.selection import Selection
from apps.progress import services as progress
from apps.progress.errors import RunUnfinished
from apps.progress.models import Run
from apps.progress.origin import Origin

from .models import Job, Source
from .queue import enqueue
from .schedules import Schedule, set_schedule
from .stages import STAGES


class OtherFolder(Exception):
    """The dataset is read from another folder. Its samples would be missing."""


class NoSource(Exception):
    """The dataset has no folder, so there is nothing to process."""

    code = "no_source"


def create_dataset(
    caller: Caller,
    dataset_id: str,
    *,
    name: str,
    folder: str,
    visibility: str,
    selection: Selection = Selection(),  # noqa: B008 -- it is immutable
) -> Dataset:
    """Create a dataset of the caller's and, with a ``folder`` under ``IMPORT_ROOTS``, queue its first run.

    ``selection``: the files of the folder that are looked at. Creates nothing if it raises `NotAllowed`,
    `FolderRefused`, or Django's `ValidationError` for a malformed or taken id.
    """
    path = importable_folder(folder) if folder else None
    with transaction.atomic():
        dataset = create(caller, dataset_id, name=name, visibility=visibility)
        if path is not None:
            Source.objects.create(
                dataset=dataset,
                folder=str(path),
                from_browser=True,
                include=selection.include,
                exclude=selection.exclude,
            )
            queue_run(dataset, by=caller.name)
    return dataset


def process_folder(
    folder: Path,
    *,
    dataset_id: str,
    name: str = "",
    replace: bool = False,
    forget_missing: bool = False,
    include: str | None = None,
    exclude: str | None = None,
    follow_links: bool | None = None,
    schedule: Schedule | None = None,
) -> Run:
    """Queue a run over ``folder``, a real path, for a dataset that is created if it does not exist. For commands.

    With ``replace``, a dataset of another folder is read from this one from now on. Raises `OtherFolder` without it,
    `ValidationError` for a malformed id or name, and `RunUnfinished`. ``forget_missing``: at the end of the run, forget
    the samples whose files are gone. ``include``, ``exclude`` (`clean_patterns` of them), ``follow_links`` and
    ``schedule``: from now on; None leaves what the dataset has.
    """
    with transaction.atomic():
        dataset = Dataset.objects.filter(dataset_id=dataset_id).first()
        if dataset is None:
            dataset = datasets.create_dataset(dataset_id, name=name)
        elif name and name != dataset.name:
            datasets.rename_dataset(dataset, name)
        if not replace:
            check_folder(dataset_id, folder)
        defaults: dict[str, object] = {"folder": str(folder), "from_browser": False}
        if replace:
            defaults["mounts"] = None
        choices = {"include": include, "exclude": exclude, "follow_links": follow_links}
        defaults |= {name: value for name, value in choices.items() if value is not None}
        Source.objects.update_or_create(dataset=dataset, defaults=defaults)
        if schedule is not None:
            set_schedule(dataset, schedule)
        return queue_run(dataset, forget_missing=forget_missing)


def check_folder(dataset_id: str, folder: Path) -> None:
    """Raise `OtherFolder` if the dataset exists and is read from another folder."""
    source = Source.objects.filter(dataset__in=Dataset.objects.filter(dataset_id=dataset_id)).first()
    if source is not None and source.folder != str(folder):
        raise OtherFolder(f"{dataset_id} reads from {source.folder}, not from {folder}.")


def source_of(dataset: Dataset) -> Source | None:
    """Return the folder of a dataset; None if it has none."""
    return Source.objects.filter(dataset=dataset).first()


def change_folder(dataset: Dataset, folder: str) -> None:
    """Have a dataset read from another folder under ``IMPORT_ROOTS`` from its next run on; its first, if it has none.

    Samples whose files are not in it will be missing. Raises `FolderRefused`, and `RunUnfinished` while a run goes on.
    """
    path = importable_folder(folder)
    with transaction.atomic():
        if Run.objects.filter(dataset=dataset).unfinished().exists():
            raise RunUnfinished("A run goes on. Change the folder when it has ended.")
        chosen = {"folder": str(path), "from_browser": True, "mounts": None}
        Source.objects.update_or_create(dataset=dataset, defaults=chosen)


def select_files(dataset: Dataset, selection: Selection) -> None:
    """Set which files of a dataset's folder are looked at, from its next run on."""
    Source.objects.filter(dataset=dataset).update(include=selection.include, exclude=selection.exclude)


def queue_run(dataset: Dataset, *, by: str = "", forget_missing: bool = False) -> Run:
    """Begin a run and queue it for the workers. Raises `NoSource`, `FolderRefused`, `RunUnfinished`.

    ``by``: who begins it. ``forget_missing``: at the end of the run, forget the samples whose files are gone.
    """
    source = Source.objects.filter(dataset=dataset).first()
    if source is None:
        raise NoSource(f"{dataset} has no folder to process.")
    if source.from_browser:
        source_folder(source)  # of other folders, the worker on its own machine says whether they can be read
    with transaction.atomic():
        run = progress.begin_run(dataset, STAGES, origin=Origin(by=by))
        enqueue(Job.objects.create(run=run, forget_missing=forget_missing))
    return run


def note_restore() -> None:
    """Say that the database was restored: readers take what it has, and no worker goes on with what it did since."""
    Job.objects.exclude(lease_token="").update(lease_token="", lease_until=None)
    progress.renew_epochs()
