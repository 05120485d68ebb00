"""Report the progress of a dataset from any Python program, in two lines.

    from dataset_progress import track
    for item in track(items, dataset="cats"):
        ...

``DATASET_PROGRESS_URL`` and ``DATASET_PROGRESS_TOKEN`` say where to, and as whom.
"""

from __future__ import annotations

from ._capture_progress import capture_progress
from ._errors import Cancelled, ProgressError, Refused, Unreachable
from ._progress import Progress
from ._retries import Failure, failures, retry_of
from ._run import Run
from ._simulate import simulate
from ._stages import Stage
from ._track import track
from ._watch import Watch, watch

__all__ = [
    "Cancelled",
    "Failure",
    "Progress",
    "ProgressError",
    "Refused",
    "Run",
    "Stage",
    "Unreachable",
    "Watch",
    "capture_progress",
    "failures",
    "retry_of",
    "simulate",
    "track",
    "watch",
]
