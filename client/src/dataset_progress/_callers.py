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


def current_code() -> CodeType | None:
    """Return the code of the job that is being executed: of the innermost function outside this package and tqdm."""
    frame: FrameType | None = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("dataset_progress", "tqdm"):
        frame = frame.f_back
    return None if frame is None else frame.f_code
