"""What C libraries print while they decode a file is printed with the path of the file.

libtiff and others write to descriptor 2, past Python. Nothing of Django is imported: pool processes run this.
"""

from __future__ import annotations

import os
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from apps.core.text import printable

STANDARD_ERROR: Final = 2
# Of what is printed about one file.
MOST_LINES: Final = 3
MOST_BYTES: Final = 64 * 1024


class NativeMessages:
    """A context manager that catches what this process writes to standard error, until `pass_on` is called.

    A pipe keeps it. What does not fit is dropped, so that no file fills a disk or a memory with messages.
    """

    def __enter__(self) -> Self:
        self._terminal = os.dup(STANDARD_ERROR)
        self._output, pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        os.dup2(pipe, STANDARD_ERROR)
        os.close(pipe)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.dup2(self._terminal, STANDARD_ERROR)
        os.close(self._terminal)
        os.close(self._output)

    def pass_on(self, path: str) -> None:
        """Print what was caught, each line behind ``path``: the first `MOST_LINES`, and how many there were more."""
        try:
            caught = os.read(self._output, MOST_BYTES)
        except BlockingIOError:
            return
        lines = [line for line in caught.decode(errors="replace").splitlines() if line.strip()]
        shown = [f"{path}: {line}" for line in lines[:MOST_LINES]]
        if more := len(lines) - len(shown):
            shown.append(f"{path}: {more} more lines")
        with suppress(OSError):
            os.write(self._terminal, "".join(f"{printable(line)}\n" for line in shown).encode(errors="replace"))
