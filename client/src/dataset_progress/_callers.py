"""Who runs a loop: the thread or task, and the function."""

from __future__ import annotations

import asyncio
import inspect
import threading
from types import CodeType, FrameType


def current_task() -> asyncio.Task[object] | None:
    """Return the running task of asyncio, if any."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def current_owner() -> object:
    """Identify who runs a loop: the running task, else the thread."""
    return current_task() or threading.get_ident()


def is_in_event_loop() -> bool:
    """Return whether a task is running the code that calls this, so that waiting would hold up the other tasks.

    A plain cell of a notebook runs within a task of the notebook, but holds up nothing of the user's.
    """
    if current_task() is None:
        return False
    frame: FrameType | None = inspect.currentframe()
    while frame is not None:
        is_async = frame.f_code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR)
        if is_async and frame.f_globals.get("__name__", "").partition(".")[0] not in ("IPython", "ipykernel"):
            return True
        frame = frame.f_back
    return False


def current_code() -> CodeType | None:
    """Return the code of the job that is being executed: of the innermost function outside this package and tqdm."""
    frame: FrameType | None = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("dataset_progress", "tqdm"):
        frame = frame.f_back
    return None if frame is None else frame.f_code
