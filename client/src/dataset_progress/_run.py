"""A run, as the job sees it: counters that cost nothing, and a thread that reads them."""

from __future__ import annotations

import asyncio
import atexit
import os
import secrets
import socket
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, overload

from ._api import Api, Server, logger
from ._errors import Cancelled, Refused
from ._sender import Sender

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

# Failures that wait to be reported; of more, the count alone is kept.
FAILURES_KEPT = 1000
FAILURES_AT_ONCE = 200
FLUSH_SECONDS = 2.0
# The two working states; a stage of that name needs no other words.
STATES = ("indexing", "embedding")


@dataclass(frozen=True)
class Stage:
    """A stage of a run. ``total``: how many items it has, if that is known; ``weight``: its share of the whole run;
    ``counts_as``: the working state as which it is shown; ``label``: its name for people, if that is another.
    """

    name: str
    total: int | None = None
    weight: float = 1.0
    counts_as: Literal["indexing", "embedding"] | None = None
    label: str | None = None
    unit: str = "items"

    def _body(self) -> dict[str, Any]:
        is_plain = self.name in STATES
        return {
            "name": self.name,
            "total": self.total or 0,
            "weight": self.weight,
            "counts_as": self.counts_as or (self.name if is_plain else "indexing"),
            "label": self.label if self.label is not None else "" if is_plain else self.name,
            "unit": self.unit,
        }


class Counter(Protocol):
    """Something that counts, and is read from another thread."""

    @property
    def done(self) -> int: ...


class _Cell:
    """What one loop, or one thread, has done. It alone writes here, so it needs no lock."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = 0


@dataclass
class _Share:
    """What this process has done of a stage."""

    base: int = 0
    cells: list[Counter] = field(default_factory=list)
    total: int | None = None
    failed: int = 0
    failures: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=FAILURES_KEPT))

    @property
    def done(self) -> int:
        return self.base + sum(cell.done for cell in self.cells)


class _Flag:
    """Whether the loop has to look up from its work."""

    __slots__ = ("is_up",)

    def __init__(self) -> None:
        self.is_up = False


_runs: weakref.WeakSet[Run] = weakref.WeakSet()
_has_said_nowhere = False


class Run:
    """Reports one pass over a dataset. Use it in a ``with`` block: leaving it makes the dataset ready, an exception
    makes it fail, with its message, and goes on its way.

    ``stages``: those that are known beforehand, by name or as `Stage`; others are made when they are begun. ``key``:
    processes that give the same one share a run; each of them but one passes ``finish=False``. ``worker``: the name of
    what is counted here; work that is done again under its name counts nothing twice. ``obey``: whether a pause holds
    `track`, and a cancellation raises `Cancelled` in it. ``flush_seconds``: how long leaving may take, else what
    ``DATASET_PROGRESS_FLUSH_SECONDS`` says, else 2.

    Without an address, in ``url`` or ``DATASET_PROGRESS_URL``, it reports nowhere and costs nothing. It never raises
    because of the server, and never waits for it but when it is left.
    """

    def __init__(
        self,
        dataset: str,
        *,
        stages: Sequence[Stage | str] = (),
        key: str | None = None,
        worker: str | None = None,
        finish: bool = True,
        obey: bool = True,
        url: str | None = None,
        token: str | None = None,
        flush_seconds: float | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.dataset = dataset
        self.stages = tuple(stage if isinstance(stage, Stage) else Stage(stage) for stage in stages)
        self._server = Server.find(url, token)
        self._key = key or secrets.token_hex(16)
        self._finishes = finish
        self._obeys = obey
        self._flush_seconds = _flush_seconds() if flush_seconds is None else flush_seconds
        self._transport = transport
        self._number: int | None = None
        self._be_new(worker)
        if self._server.url:
            _runs.add(self)
        else:
            _say_nowhere()

    def _be_new(self, worker: str | None = None) -> None:
        """Start counting, as a process that has done nothing of the run yet."""
        self._worker = worker or f"{socket.gethostname()[:64]}-{os.getpid()}-{secrets.token_hex(4)}"
        self._lock = threading.Lock()
        self._sender: Sender | None = None
        self._local = threading.local()
        self._shares: dict[str, _Share] = {}
        self._current = self.stages[0].name if self.stages else STATES[0]
        self._message = self._told_message = ""
        self._told: dict[str, dict[str, Any]] = {}
        self._ending: dict[str, Any] = {}
        self._control = "run"
        self._flag = _Flag()
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<Run of {self.dataset}>"

    # --- In other processes ------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """In a process that is given it, a run is the same run, with a share of its own; it ends where it began."""
        kept = ("dataset", "stages", "_server", "_key", "_obeys", "_flush_seconds")
        return {name: getattr(self, name) for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._finishes = False
        self._transport = self._number = None
        self._be_new()
        _runs.add(self)

    def _after_fork(self) -> None:
        self._finishes = False
        self._be_new()

    # --- Counting ----------------------------------------------------------------------------------------------------

    def stage(self, name: str, total: int | None = None) -> Run:
        """Go on to a stage; what is counted from now on is counted there."""
        with self._lock:
            self._current = name
        share = self._share(name)
        if total is not None:
            share.total = total
        self._start()
        return self

    def advance(self, n: int = 1) -> None:
        """Count ``n`` items more of the stage under way. Any thread may."""
        local = self._local
        try:
            cell = local.cells[self._current]
        except (AttributeError, KeyError):
            cell = self._own_cell()
        cell.done += n

    def set(self, current: int | None = None, total: int | None = None, message: str | None = None) -> None:
        """Say how far this process is, in place of counting."""
        share = self._share(self._current)
        with self._lock:
            if current is not None:
                share.base += current - share.done
            if total is not None:
                share.total = total
        if message is not None:
            self._message = message
        self._start()

    def fail_item(self, item: object, reason: object = "") -> None:
        """List an item that could not be processed. The run goes on; the item still has to be counted."""
        share = self._share(self._current)
        with self._lock:
            share.failed += 1
            share.failures.append((str(item)[-1024:] or "?", str(reason)[:500]))
        self._start()

    @overload
    def track(self, iterable: Iterable[T], *, stage: str | None = None, total: int | None = None) -> Iterator[T]: ...
    @overload
    def track(
        self, iterable: AsyncIterable[T], *, stage: str | None = None, total: int | None = None
    ) -> AsyncIterator[T]: ...

    def track(
        self, iterable: Iterable[T] | AsyncIterable[T], *, stage: str | None = None, total: int | None = None
    ) -> Iterator[T] | AsyncIterator[T]:
        """The items of ``iterable``, each counted when the loop comes back for the next.

        Holds at the next item while the run is paused, and raises `Cancelled` there when it is cancelled.
        """
        if not self._server.url:
            return iter(iterable) if isinstance(iterable, Iterable) else aiter(iterable)
        name = self._current if stage is None else stage
        if total is None:
            with suppress(Exception):
                total = len(iterable)  # type: ignore[arg-type]  # asked, not known
        cell = _Cell()
        share = self._follow(name, cell, total)
        if isinstance(iterable, Iterable):
            return self._iterate(iterable, share, cell)
        return self._iterate_async(iterable, share, cell)

    def _iterate(self, iterable: Iterable[T], share: _Share, cell: _Cell) -> Iterator[T]:
        flag, done = self._flag, 0
        try:
            for item in iterable:
                if flag.is_up:
                    self.hold()
                yield item
                done += 1
                cell.done = done
        finally:
            self._fold(share, cell)

    async def _iterate_async(self, iterable: AsyncIterable[T], share: _Share, cell: _Cell) -> AsyncIterator[T]:
        flag, done = self._flag, 0
        try:
            async for item in iterable:
                while flag.is_up and self._must_hold():  # noqa: ASYNC110 -- set by a thread that knows no loop
                    await asyncio.sleep(0.1)
                yield item
                done += 1
                cell.done = done
        finally:
            self._fold(share, cell)

    def _follow(self, name: str, cell: Counter, total: int | None) -> _Share:
        """Count what somebody else's counter counts, as a stage of that name, until it is folded."""
        self.stage(name)
        share = self._share(name)
        with self._lock:
            share.cells.append(cell)
            if total is not None:
                share.total = (share.total or 0) + total
        return share

    def _fold(self, share: _Share, cell: Counter) -> None:
        """Keep what a loop that is over has counted, without its cell."""
        with self._lock:
            share.cells.remove(cell)
            share.base += cell.done

    def hold(self) -> None:
        """Wait while the run is paused. Raises `Cancelled`. Loops of `track` do so by themselves."""
        while self._flag.is_up and self._must_hold():
            time.sleep(0.1)

    def _must_hold(self) -> bool:
        """Whether the loop is to wait. Raises `Cancelled`."""
        if self._control == "cancel":
            raise Cancelled(f"The run of {self.dataset} was cancelled.")
        return self._control == "pause"

    def _share(self, name: str) -> _Share:
        with self._lock:
            return self._shares.setdefault(name, _Share())

    def _own_cell(self) -> _Cell:
        """The cell of this thread in the stage under way."""
        if not hasattr(self._local, "cells"):
            self._local.cells = {}
        name = self._current
        share = self._share(name)
        with self._lock:
            cell = _Cell()
            share.cells.append(cell)
        self._local.cells[name] = cell
        self._start()
        return cell

    # --- Beginning and ending ----------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._sender is not None or not self._server.url or self._is_closed:
            return
        with self._lock:
            if self._sender is None:
                self._sender = Sender(self, Api(self._server, self._transport))
                if not self._finishes:
                    _flush_when_the_process_ends(self)

    def __enter__(self) -> Run:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(error)

    def close(self, error: BaseException | str | None = None) -> None:
        """End the run: ready, or failed with ``error``. Closing again does nothing."""
        if self._is_closed:
            return
        if isinstance(error, SystemExit) and not error.code:
            error = None  # it has left as it meant to
        if self._finishes:
            self._ending = {"state": "ready"} if error is None else {"state": "error", "error": _words(error)}
            self._start()
        self._is_closed = True
        if self._sender is not None:
            self._sender.close(self._flush_seconds)

    # --- What the sender asks for ------------------------------------------------------------------------------------

    def begin(self, api: Api) -> None:
        """Begin the run, or find it by its key."""
        body = {"stages": [stage._body() for stage in self.stages], "idempotency_key": self._key, "replace": True}
        self._number = api.begin(self.dataset, body)

    def _update(self, **said: Any) -> dict[str, Any]:
        return {"dataset_id": self.dataset, "run": self._number, **said}

    def news(self, *, final: bool) -> list[dict[str, Any]]:
        """The stages of which more is done than was told, the one under way last."""
        planned = {stage.name for stage in self.stages if stage.total is not None}
        with self._lock:
            names = [name for name in self._shares if name != self._current]
            updates = []
            for name in [*names, self._current]:
                share = self._shares.get(name)
                if share is None:
                    continue
                said: dict[str, Any] = {"current": share.done, "failed": share.failed}
                if share.total is not None and name not in planned:
                    said["total"] = share.total
                if said != self._told.get(name) or share.failures:
                    failures = list(share.failures)[:FAILURES_AT_ONCE]
                    said["failures"] = [{"item": item, "reason": reason} for item, reason in failures]
                    updates.append(self._update(stage=name, worker=self._worker, **said))
        said = {"message": self._message} if self._message != self._told_message else {}
        if final and not self.has_more():
            said |= self._ending
        if said:
            updates.append(self._update(**said))
        return updates

    def has_more(self) -> bool:
        """Whether one request is not enough for what there is to say."""
        return any(len(share.failures) > FAILURES_AT_ONCE for share in self._shares.values())

    def heartbeat(self) -> list[dict[str, Any]]:
        return [self._update()]

    def is_paused(self) -> bool:
        return self._control == "pause"

    def over(self, api: Api) -> None:
        """Whoever cancelled the run while nothing was heard of it meant this job; whoever began another did not."""
        now = api.progress(self.dataset)
        if now.get("run") == self._number and now.get("cancelled"):
            self._control = "cancel"
            self._flag.is_up = self._obeys

    def told(self, updates: list[dict[str, Any]], results: list[dict[str, Any]]) -> None:
        for update, result in zip(updates, results, strict=True):
            if result.get("status") != 200:
                raise Refused(int(result.get("status", 0)), str(result.get("code")), str(result.get("detail")))
            self._control = str(result.get("control"))
            self._told_message = update.get("message", self._told_message)
            if (name := update.get("stage")) is None:
                continue
            with self._lock:
                self._told[name] = {key: update[key] for key in ("current", "failed", "total") if key in update}
                for _ in update["failures"]:
                    self._shares[name].failures.popleft()
        self._flag.is_up = self._obeys and self._control in ("pause", "cancel")


@overload
def track(
    iterable: Iterable[T], *, dataset: str, stage: str = STATES[0], total: int | None = None, **options: Any
) -> Iterator[T]: ...
@overload
def track(
    iterable: AsyncIterable[T], *, dataset: str, stage: str = STATES[0], total: int | None = None, **options: Any
) -> AsyncIterator[T]: ...


def track(
    iterable: Iterable[T] | AsyncIterable[T],
    *,
    dataset: str,
    stage: str = STATES[0],
    total: int | None = None,
    **options: Any,
) -> Iterator[T] | AsyncIterator[T]:
    """The items of ``iterable``; going through them is a run of ``dataset``, with one stage.

    The dataset is ready when they are through. A loop that is left early cannot tell why: its run ends when the
    program does, in error if the program died of an exception. ``options`` are those of `Run`.
    """
    run = Run(dataset, stages=[stage], **options)
    if isinstance(iterable, Iterable):
        return _through(run, run.track(iterable, total=total))
    return _through_async(run, run.track(iterable, total=total))


def _through(run: Run, items: Iterator[T]) -> Iterator[T]:
    try:
        yield from items
    except GeneratorExit:
        raise
    except BaseException as error:
        run.close(error)
        raise
    run.close()


async def _through_async(run: Run, items: AsyncIterator[T]) -> AsyncIterator[T]:
    try:
        async for item in items:
            yield item
    except GeneratorExit:
        raise
    except BaseException as error:
        run.close(error)
        raise
    run.close()


def _flush_seconds() -> float:
    said = os.environ.get("DATASET_PROGRESS_FLUSH_SECONDS", "")
    try:
        return float(said) if said else FLUSH_SECONDS
    except ValueError:
        logger.warning("DATASET_PROGRESS_FLUSH_SECONDS=%s is not a number; it is taken for %g", said, FLUSH_SECONDS)
        return FLUSH_SECONDS


def _words(error: BaseException | str) -> str:
    if isinstance(error, str):
        return error or "Failed."
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _say_nowhere() -> None:
    global _has_said_nowhere
    if not _has_said_nowhere:
        _has_said_nowhere = True
        logger.debug("progress is reported nowhere: there is no DATASET_PROGRESS_URL")


def _flush_when_the_process_ends(run: Run) -> None:
    """Processes of `multiprocessing` leave without running what is registered with `atexit`."""
    if (util := sys.modules.get("multiprocessing.util")) is not None:
        util.Finalize(None, run.close, exitpriority=100)


def _end_all() -> None:
    """What is still open when the interpreter ends: failed if it ends by an exception, else done."""
    error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    for run in list(_runs):
        if run._sender is not None:
            run.close(error)


def _share_anew() -> None:
    """In a forked process: whatever runs it has been given, it has done nothing of them yet."""
    for run in list(_runs):
        run._after_fork()


atexit.register(_end_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_share_anew)
