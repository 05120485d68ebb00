"""Tell forked processes which datasets the loops of this process count.

A loop in a worker process is a part of the loop around it, also if the pool was forked before that loop began. So a
process shares a page of memory with those that it forks, which holds the datasets that its loops count at the moment.
Nothing of this happens before the first fork.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import threading
from collections import Counter

from ._api import Server

# How many datasets the page holds. The loops of further ones are not known to other processes.
MAX_DATASETS = 512
MARK_BYTES = 8
FREE = bytes(MARK_BYTES)


class _State:
    """What this process shares with those that it forks, and what others share with it."""

    def __init__(self, outer: tuple[mmap.mmap, ...] = ()) -> None:
        self.outer = outer  # the pages of the processes that this one descends from
        self.page: mmap.mmap | None = None
        self.counted: Counter[bytes] = Counter()  # how many loops count each dataset
        self.lock = threading.RLock()  # reentrant, because the garbage collector may end a loop
        self.is_uncertain = bool(outer)


_state = _State()


def enter(dataset_id: str, server: Server) -> None:
    """Note that a loop of this process counts a dataset. `leave` takes it back."""
    mark = _mark(dataset_id, server)
    with _state.lock:
        _state.counted[mark] += 1
        if _state.counted[mark] == 1:
            _replace(FREE, mark)


def leave(dataset_id: str, server: Server) -> None:
    """Note that a loop has ended."""
    mark = _mark(dataset_id, server)
    with _state.lock:
        _state.counted[mark] -= 1
        if _state.counted[mark] <= 0:
            del _state.counted[mark]
            _replace(mark, FREE)


def is_within_loop(dataset_id: str, server: Server) -> bool:
    """Return whether a process that this one descends from counts the dataset in a loop at the moment."""
    if not _state.outer:
        return False
    is_within = any(_find(page, _mark(dataset_id, server)) >= 0 for page in _state.outer)
    _state.is_uncertain |= is_within
    return is_within


def is_uncertain() -> bool:
    """Return whether the loop around those of this process may be about to begin."""
    return _state.is_uncertain


def be_certain() -> None:
    """Take it that there is no loop around those of this process, until one is seen."""
    _state.is_uncertain = False


def _mark(dataset_id: str, server: Server) -> bytes:
    return hashlib.sha256(f"{server.url} {dataset_id}".encode(errors="surrogatepass")).digest()[:MARK_BYTES]


def _find(page: mmap.mmap, mark: bytes) -> int:
    """Return where a mark is on a page; -1 if it is not there."""
    position = page.find(mark)
    while position >= 0 and position % MARK_BYTES:
        position = page.find(mark, position + 1)
    return position


def _replace(old: bytes, new: bytes) -> None:
    if _state.page is not None and (position := _find(_state.page, old)) >= 0:
        _state.page[position : position + MARK_BYTES] = new


def _before_fork() -> None:
    if _state.page is None:
        with _state.lock:
            _state.page = mmap.mmap(-1, MAX_DATASETS * MARK_BYTES)  # anonymous memory stays shared in a child
            for mark in _state.counted:
                _replace(FREE, mark)


def _after_fork_in_child() -> None:
    global _state
    _state = _State((*_state.outer, _state.page) if _state.page is not None else _state.outer)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
