"""Stop the pools of `concurrent.futures` whose items a bar counts.

`thread_map` and `process_map` of tqdm update their bar in a callback of each future. What is raised there is logged and
lost, so the items that wait are cancelled instead.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from types import FrameType
from typing import Any


def executor_of_map() -> Executor | None:
    """Return the executor of the `thread_map` or `process_map` that calls this."""
    if "tqdm.contrib.concurrent" not in sys.modules:
        return None
    found = _local(lambda frame: _is_at(frame, "tqdm.contrib.concurrent", "_executor_map"), "ex")
    return found if isinstance(found, Executor) else None


def future_of_callback() -> Future[Any] | None:
    """Return the future whose callback calls this."""
    callers = ("_invoke_callbacks", "add_done_callback")
    found = _local(lambda frame: _is_at(frame, "concurrent.futures._base", *callers), "self")
    return found if isinstance(found, Future) else None


def _is_at(frame: FrameType, module: str, *functions: str) -> bool:
    return frame.f_code.co_name in functions and frame.f_globals.get("__name__") == module


def _local(is_meant: Callable[[FrameType], bool], name: str) -> object:
    """Return a variable of the innermost caller that is meant."""
    return next((frame.f_locals.get(name) for frame in _callers() if is_meant(frame)), None)


def _callers() -> Iterator[FrameType]:
    frame = inspect.currentframe()
    while frame is not None:
        yield frame
        frame = frame.f_back
