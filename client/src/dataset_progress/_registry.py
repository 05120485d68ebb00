"""A set of live objects that can be walked through while another thread adds to it."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Registry(Generic[T]):
    """Holds weak references: an object leaves the registry when nothing else refers to it."""

    def __init__(self) -> None:
        self._members: weakref.WeakSet[T] = weakref.WeakSet()

    def add(self, member: T) -> None:
        self._members.add(member)

    def __iter__(self) -> Iterator[T]:
        while True:
            try:
                return iter(list(self._members))
            except RuntimeError:  # noqa: PERF203 -- another thread added a member meanwhile
                continue
