"""Simulations that a page has started: threads of the web process. They end with it, and their runs are then lost."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from django.db import Error, connection

from apps.core.text import one_line
from apps.datasets.models import Dataset
from apps.progress.models import Run

from .plan import Plan
from .reporter import begin, simulate

logger = logging.getLogger(__name__)

# Simulations that one process runs at a time.
AT_ONCE: Final = 4

_places = threading.BoundedSemaphore(AT_ONCE)


class TooMany(Exception):
    """This process runs as many simulations as it may."""


def start(dataset: Dataset, plan: Plan, by: str, *, replace: bool = False) -> Run:
    """Begin a run of the dataset and simulate it in a thread. Raises `TooMany` and `RunUnfinished`.

    ``replace``: it takes the place of an unfinished run, which is cancelled. It is stopped as every run is, by
    cancelling it.
    """
    if not _places.acquire(blocking=False):
        raise TooMany(f"{AT_ONCE} simulations are under way. Stop one first.")
    try:
        run = begin(dataset, plan, by, replace=replace)
        threading.Thread(target=_simulate, args=(run, plan), name=f"simulation {run.pk}", daemon=True).start()
    except BaseException:
        _places.release()
        raise
    return run


def _simulate(run: Run, plan: Plan) -> None:
    try:
        simulate(run, plan, time.sleep)
    except (Error, OSError) as error:
        logger.warning("the simulation of run %s ended: %s", run.pk, one_line(error))
    finally:
        connection.close()
        _places.release()
