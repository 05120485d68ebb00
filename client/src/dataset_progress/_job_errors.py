"""Find the exception that a loop was left by, though the loop is not told.

A loop only learns that its iterator is dropped. But an exception that leaves the program, or the cell of a notebook, is
put into `sys.last_exc`, and one that leaves a task stays in the task. It belongs to a loop if its traceback goes
through the function that ran the loop.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from types import CodeType

from ._callers import current_code, current_task
from ._exits import last_error

# How many functions and tasks are remembered: as many loops may run side by side, and be told apart.
MAX_REMEMBERED = 64


class JobErrors:
    """The exceptions that left the functions and tasks that run loops. Does not keep their variables alive."""

    def __init__(self) -> None:
        self._places: deque[CodeType | str] = deque(maxlen=MAX_REMEMBERED)
        self._tasks: deque[asyncio.Task[object]] = deque(maxlen=MAX_REMEMBERED)
        self._error_before = last_error()

    @property
    def is_watching(self) -> bool:
        """Whether `watch` was called."""
        return bool(self._places)

    def watch(self) -> None:
        """Remember the function and the task that call this."""
        if (code := current_code()) is not None and (place := _place(code)) not in self._places:
            self._places.append(place)
        if (task := current_task()) is not None and task not in self._tasks:
            self._tasks.append(task)

    def find(self) -> BaseException | None:
        """Return an exception that left one of them since this object was made."""
        if (error := last_error()) is not self._error_before and self._is_of_loop(error):
            return error
        for task in list(self._tasks):
            if task.done():
                self._tasks.remove(task)
                # Not task.exception(), which would keep asyncio from logging an exception that nobody retrieves.
                error = getattr(task, "_exception", None)
                if self._is_of_loop(error):
                    return error
        return None

    def explains_end_of_program(self, error: BaseException) -> bool:
        """Return whether ``error`` is why the program ends; interactively, whether it left one of the functions."""
        return error is not self._error_before and (not hasattr(sys, "ps1") or self._is_of_loop(error))

    def _is_of_loop(self, error: BaseException | None) -> bool:
        traceback = None if error is None else error.__traceback__
        while traceback is not None:
            if _place(traceback.tb_frame.f_code) in self._places:
                return True
            traceback = traceback.tb_next
        return False


def _place(code: CodeType) -> CodeType | str:
    """Identify a function, or a cell of a notebook, of which each statement has a code of its own."""
    is_cell = code.co_name == "<module>" and not code.co_filename.startswith("<")
    return code.co_filename if is_cell else code
