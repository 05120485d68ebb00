"""Stop the pools of `concurrent.futures` whose items a bar counts.

`thread_map` and `process_map` of tqdm update their bar in a callback of each future. What is raised there is logged and
lost, so the items that wait are cancelled instead.
"""

from __future__ import annotations

import sys
from concurrent.futures import Executor

from dataset_progress._callers import callers, is_at


def executor_of_map() -> Executor | None:
    """Return the executor of the `thread_map` or `process_map` that calls this."""
    if "tqdm.contrib.concurrent" not in sys.modules:
        return None
    for frame in callers():
        if is_at(frame, "tqdm.contrib.concurrent", "_executor_map"):
            found = frame.f_locals.get("ex")
            return found if isinstance(found, Executor) else None
    return None
