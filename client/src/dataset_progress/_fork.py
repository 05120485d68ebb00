"""Keeps a fork of the process out of what this package does on threads of its own.

A forked process has one thread and every lock as it was. One that another thread held in that moment (OpenSSL's, the
resolver's, that of a module half imported) is never let go in it: the child stops at its first digest, and whoever
waits for the child with it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# A request can hang for as long as its server does. What it waits for then is the network, and it holds no lock.
LONGEST_WAIT_SECONDS = 0.25


class _Forks:
    """Forks on the one hand, sections that must not be cut in two by one on the other."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew, as a forked process does: none of the sections goes on in it."""
        self._changed = threading.Condition()
        self._sections: set[object] = set()
        self._forks = 0

    def before(self) -> None:
        """Let no section begin, and wait for those under way; for each of them once."""
        with self._changed:
            self._forks += 1
            self._changed.wait_for(lambda: not self._sections, LONGEST_WAIT_SECONDS)
            self._sections.clear()

    def after(self) -> None:
        with self._changed:
            self._forks -= 1
            self._changed.notify_all()

    @contextmanager
    def held_off(self) -> Iterator[None]:
        section = object()
        with self._changed:
            self._changed.wait_for(lambda: not self._forks)
            self._sections.add(section)
        try:
            yield
        finally:
            with self._changed:
                self._sections.discard(section)
                self._changed.notify_all()


_forks = _Forks()
forks_held_off = _forks.held_off

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_forks.before, after_in_parent=_forks.after, after_in_child=_forks.reset)
