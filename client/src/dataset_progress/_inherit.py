"""Keep runs correct in the processes that inherit them.

*Fork.* A forked child is a copy of its parent with one thread left. Two things are done about that, both through
`os.register_at_fork`:

- What the parent counted stays the parent's. In the child, each open run starts at zero, under a worker name of its
  own, and leaves it to the parent to end the run.
- A fork waits for up to `MAX_FORK_DELAY_SECONDS` until no request of this package is being made. A lock that another
  thread holds during a fork (of OpenSSL, the resolver, a module being imported) stays locked in the child for ever.

*Spawn and forkserver* pickle their arguments. `Run` pickles its settings and its current stage; the copy also starts at
zero.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from ._registry import Registry

# A request can hang for as long as its server does. It then waits for the network, and holds no lock.
MAX_FORK_DELAY_SECONDS = 0.25


class Inheritable(Protocol):
    """Something open of which a forked child inherits a copy."""

    def after_fork_in_parent(self) -> None: ...
    def after_fork_in_child(self) -> None: ...


class _ForkGate:
    """Delays forks during some sections of code, and delays new sections during a fork."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the sections, as none of them continues in a forked child."""
        self._changed = threading.Condition()
        self._sections: set[object] = set()
        self._forks = 0

    def before_fork(self) -> None:
        """Keep new sections from starting, and wait for those under way. Each section delays one fork at most."""
        with self._changed:
            self._forks += 1
            self._changed.wait_for(lambda: not self._sections, MAX_FORK_DELAY_SECONDS)
            self._sections.clear()

    def after_fork_in_parent(self) -> None:
        with self._changed:
            self._forks -= 1
            self._changed.notify_all()

    @contextmanager
    def section(self) -> Iterator[None]:
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


_gate = _ForkGate()
delay_forks = _gate.section

inheritables: Registry[Inheritable] = Registry()


def _after_fork_in_parent() -> None:
    for each in inheritables:
        each.after_fork_in_parent()


def _after_fork_in_child() -> None:
    for each in inheritables:
        each.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_gate.before_fork, after_in_parent=_gate.after_fork_in_parent, after_in_child=_gate.reset
    )
    os.register_at_fork(after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
