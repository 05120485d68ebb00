"""The datasets of the demo: the folder of images, its id and its run, and those that `reporters` reports on.

Django's settings are loaded before any of these functions is called.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from django.core.exceptions import ImproperlyConfigured

from apps.datasets.dataset_ids import is_dataset_id

from . import preparation
from .processes import ROOT, ChildProcesses

if TYPE_CHECKING:
    from django.contrib.auth.models import User

# The datasets that `reporters` reports on: their ids, and their names on pages.
REPORTED: Final = {
    "demo-crawl": "Web crawl (demo)",
    "demo-stream": "Event stream (demo)",
    "demo-captions": "Captions, paused (demo)",
    "demo-clip": "CLIP embeddings (demo)",
    "demo-birds": "Birds (demo)",
    "demo-maps": "Maps (demo)",
}


def choose_id(images: Path | None) -> str:
    """``DATASET``, or an id made from the name of the folder, or ``demo``. Raises `ImproperlyConfigured`."""
    dataset_id = os.environ.get("DATASET") or ("demo" if images is None else _id_of_folder(images))
    if not is_dataset_id(dataset_id):
        raise ImproperlyConfigured(
            f"DATASET={dataset_id} is not an id: use letters, digits, dots, dashes and underscores."
        )
    return dataset_id


def check_folder(dataset_id: str, folder: Path, *, generated: bool) -> None:
    """Refuse to read a dataset from another folder, which would delete its samples. Raises `ImproperlyConfigured`.

    A folder of ``generated`` images may differ if the data folder, which holds it, was moved.
    """
    from apps.pipeline.models import Source
    from apps.pipeline.services import OtherFolder, check_folder

    if generated:
        moved = Source.objects.filter(dataset__dataset_id=dataset_id, folder__endswith="/images/demo").first()
        if moved is not None and not Path(moved.folder).exists():
            return
    try:
        check_folder(dataset_id, folder)
    except OtherFolder as error:
        raise ImproperlyConfigured(f"{error} Choose another DATASET=.") from None


def generate_images(folder: Path) -> bool:
    """Generate the images of the demo, unless they were generated before. Returns whether any were."""
    from apps.demo.images import has_demo_images, make_demo_images

    if has_demo_images(folder):
        return False
    print("  Generating 300 images, and three that are broken...", flush=True)
    make_demo_images(folder)
    return True


def queue(dataset_id: str, folder: Path) -> None:
    """Queue a run over the folder, unless one is unfinished, which the worker will continue."""
    from apps.pipeline.services import process_folder
    from apps.progress.errors import RunUnfinished

    try:
        process_folder(folder, dataset_id=dataset_id, replace=True)
    except RunUnfinished:
        print(f"  {dataset_id} continues where it was stopped.", flush=True)


def start_reporters(children: ChildProcesses, admin: User, url: str) -> None:
    """Create the datasets of the admin that `reporters` reports on, and start it."""
    preparation.create_datasets(admin, REPORTED)
    preparation.create_batch(admin, "demo", "Reported jobs (demo)", REPORTED)
    token = preparation.issue_token(admin, "demo-*", "make demo: reporters")
    children.start(
        "reporters", "-m", "progress_site.demo.reporters", PYTHONPATH=str(ROOT / "client" / "src"),
        DATASET_PROGRESS_URL=url, DATASET_PROGRESS_TOKEN=token,
    )  # fmt: skip


def _id_of_folder(folder: Path) -> str:
    dataset_id = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in folder.name).strip("-")
    return dataset_id[:128] or "images"
