"""Runs that are processed in this process."""

from __future__ import annotations

import threading
from pathlib import Path

from apps.pipeline.services import process_folder
from apps.pipeline.work.runner import Outcome, Runner
from apps.progress.models import Run


def process(folder: Path) -> tuple[Run, Outcome]:
    """Queue a run over ``folder`` and process it here."""
    run = process_folder(folder, dataset_id="cats")
    return run, Runner(run.pk, threading.Event()).process()
