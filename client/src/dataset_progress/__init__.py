"""Report how far a dataset is, from any Python, in two lines.

    from dataset_progress import track
    for item in track(items, dataset="cats"):
        ...

Where to, and as whom, is told by ``DATASET_PROGRESS_URL`` and ``DATASET_PROGRESS_TOKEN``.
"""

from __future__ import annotations

from ._counting import Stage
from ._errors import Cancelled, ProgressError, Refused, Unreachable
from ._run import Run
from ._simulate import simulate
from ._track import track
from ._watch import Progress, Watch, watch

__all__ = [
    "Cancelled",
    "Progress",
    "ProgressError",
    "Refused",
    "Run",
    "Stage",
    "Unreachable",
    "Watch",
    "simulate",
    "track",
    "watch",
]
