"""Who runs the code of a job: the thread or task, the function, and what calls it back."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from types import CodeType, FrameType

# This package, and the libraries whose bars and callbacks it is called by.
LIBRARIES = frozenset(
    {"dataset_progress", "keras", "lightgbm", "lightning", "optuna", "tqdm", "transformers", "xgboost"}
)


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
    """Return whether an event loop is running the code that calls this, so that waiting would hold up its other tasks.

    A plain cell of a notebook runs within a task of the notebook, but holds up nothing of the user's.
    """
    if current_task() is None:
        return _is_in_callback_of_loop()
    return any(_is_async(frame) for frame in callers())


def _is_async(frame: FrameType) -> bool:
    is_async = frame.f_code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR)
    return bool(is_async) and _package_of(frame) not in ("IPython", "ipykernel")


def is_in_callback() -> bool:
    """Return whether a future, a pool or an event loop calls the code that calls this.

    Each of them loses what is raised there, and a pool of `multiprocessing` stands still for ever.
    """
    return (
        _is_in_callback_of_loop()
        or future_of_callback() is not None
        or any(is_at(frame, "multiprocessing.pool", "_set") for frame in callers())
    )


def _is_in_callback_of_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return current_task() is None


def future_of_callback() -> Future[object] | None:
    """Return the future of `concurrent.futures` whose callback calls this."""
    for frame in callers():
        if frame.f_code.co_name in ("_invoke_callbacks", "add_done_callback"):
            found = frame.f_locals.get("self")
            if isinstance(found, Future):
                return found
    return None


def callers() -> Iterator[FrameType]:
    """Yield the frames of the functions that call this, the innermost first."""
    frame = inspect.currentframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


def is_at(frame: FrameType, module: str, function: str) -> bool:
    """Return whether a frame is of a function."""
    return frame.f_code.co_name == function and frame.f_globals.get("__name__") == module


def _package_of(frame: FrameType) -> str:
    name: str = frame.f_globals.get("__name__", "")
    return name.partition(".")[0]


def current_code() -> CodeType | None:
    """Return the code of the job that is being executed: of the innermost function outside `LIBRARIES`."""
    frames = (frame for frame in callers() if _package_of(frame) not in LIBRARIES)
    return next((frame.f_code for frame in frames), None)
