"""`capture_progress`, with which the bars of libraries are reported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ._capture import capture_in_run
from ._run import Run

__all__ = ["capture_progress"]

# The libraries, and the module that has their `captures`.
LIBRARIES = {
    "tqdm": "dataset_progress.tqdm._capture",
    "rich": "dataset_progress._capture_rich",
    "dask": "dataset_progress._capture_dask",
}


@contextmanager
def capture_progress(dataset: str, **options: Any) -> Iterator[Run]:
    """Report the bars that libraries show inside the ``with`` block, each as a stage of one run of ``dataset``.

    Sees the bars of tqdm, those of rich (`rich.progress.track` and `Progress`), and computations of dask, except those
    of its distributed scheduler. ``options``: those of `Run`. Yields the run.

    One bar is followed at a time. Bars that open meanwhile, in any thread, are details of it. While the run is paused,
    the job waits where it counts, and `Cancelled` is raised there when it is cancelled. A block without a bar ends with
    "No progress was seen.".
    """
    with capture_in_run(dataset, options) as capture, ExitStack() as stack:
        for library, module in LIBRARIES.items():
            if find_spec(library) is not None:
                stack.enter_context(import_module(module).captures.adding(capture))
        yield capture.run
