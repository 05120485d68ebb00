"""A run, as the job sees it: counters that cost nothing, and a thread that reads them."""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import socket
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from . import _processes
from . import _values as values
from ._api import Api, Server, logger
from ._counting import STATES, AsyncItems, Cell, Counter, Share, Stage, ThreadCell, looper, plan, stage_name
from ._errors import Cancelled, Refused
from ._sender import INTERVAL_SECONDS, Over, Sender

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

FAILURES_AT_ONCE = 1000
CHARACTERS_AT_ONCE = 200_000
FLUSH_SECONDS = 2.0
# A pause is lifted where nobody has confirmed it for so long: who cannot be reached cannot say Resume either.
HOLD_SECONDS = 60.0
# What a loop that was left early waits for: the end of the program, which knows why.
LEFT_SECONDS = 5.0

_has_said_nowhere = False


class _Flag:
    """Whether the loop has to look up from its work."""

    __slots__ = ("is_up",)

    def __init__(self) -> None:
        self.is_up = False


class Run:
    """Reports one pass over a dataset. Use it in a ``with`` block: leaving it makes the dataset ready, an exception
    makes it fail, with its message, and goes on its way.

    ``stages``: those that are known beforehand, by name or as `Stage`; others are made when they are begun. ``key``:
    processes that give the same one share a run; each of them but one passes ``finish=False``. ``worker``: the name of
    what is counted here; work that is done again under its name counts nothing twice. ``obey``: whether a pause holds
    `track`, and a cancellation raises `Cancelled` in it. ``flush_seconds``: how long leaving may take, else what
    ``DATASET_PROGRESS_FLUSH_SECONDS`` says, else 2. ``clock``: seconds that only grow.

    Without an address, in ``url`` or ``DATASET_PROGRESS_URL``, it reports nowhere and costs nothing. It never raises
    because of the server or of what it is told, and never waits for the server but when it is left.
    """

    def __init__(
        self,
        dataset: str,
        *,
        stages: Sequence[Stage | str] = (),
        key: str | int | None = None,
        worker: str | int | None = None,
        finish: bool = True,
        obey: bool = True,
        url: str | None = None,
        token: str | None = None,
        flush_seconds: float | None = None,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dataset = dataset
        self._stages = plan(stages)
        self._server = _server(dataset, url, token)
        self._key = values.key(secrets.token_hex(16) if key is None else key)
        self._finishes = finish
        self._obeys = obey
        self._flush_seconds = _flush_seconds(flush_seconds)
        self._transport = transport
        self._clock = clock
        self._number: int | None = None
        self._current = self._stages[0]["name"] if self._stages else STATES[0]
        self._be_new(worker)
        if self._server.url:
            _processes.keep(self)

    def _be_new(self, worker: str | int | None = None) -> None:
        """Start counting, as a process that has done nothing of the run yet."""
        anyone = f"{socket.gethostname()[:64]}-{os.getpid()}-{secrets.token_hex(4)}"
        self._worker = values.key(anyone if worker is None else worker)
        # A handler of a signal may close the run in the middle of what holds it.
        self._lock = threading.RLock()
        self._sender: Sender | None = None
        self._local = threading.local()
        self._shares: dict[str, Share] = {}
        self._message = self._told_message = ""
        self._told: dict[str, dict[str, Any]] = {}
        self._ending: dict[str, Any] = {}
        self._control = "run"
        self._confirmed = self._clock()
        self._flag = _Flag()
        self._is_closed = self._is_end_refused = False
        self._is_shared = self._is_entered = False
        self._left = ""
        self._died_before = _processes.last_error()

    def __repr__(self) -> str:
        return f"<Run of {self.dataset}>"

    # --- In other processes ------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """In a process that is given it, a run is the same run, with a share of its own; it ends where it began."""
        self._is_shared = True
        kept = ("dataset", "_stages", "_server", "_key", "_obeys", "_flush_seconds", "_current")
        return {name: getattr(self, name) for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._finishes = False
        self._transport = self._number = None
        self._clock = time.monotonic
        self._be_new()
        if self._server.url:
            _processes.keep(self)

    def _after_fork(self) -> None:
        """In a forked process: whatever was counted, it was elsewhere."""
        if not self._is_closed:
            is_entered = self._is_entered
            self._finishes = False
            self._be_new()
            self._is_entered = is_entered

    # --- Counting ----------------------------------------------------------------------------------------------------

    def stage(self, name: str, total: int | None = None) -> Run:
        """Go on to a stage; what is counted from now on is counted there."""
        name = stage_name(name)
        with self._lock:
            self._current = name
            self._share(name).set(None, total)
        self._start()
        return self

    def advance(self, n: int = 1) -> None:
        """Count ``n`` items more of the stage under way. Any thread may."""
        local = self._local
        try:
            cell = local.cells[self._current]
        except (AttributeError, KeyError):
            cell = self._own_cell()
        cell.done += n if type(n) is int else values.count(n)

    def set(self, current: int | None = None, total: int | None = None, message: str | None = None) -> None:
        """Say how far this process is, in place of counting."""
        with self._lock:
            self._share(self._current).set(current, total)
            if message is not None:
                self._message = values.text(message, 1000)
        self._start()

    def fail_item(self, item: object, reason: object = "") -> None:
        """List an item that could not be processed. The run goes on; the item still has to be counted."""
        with self._lock:
            self._share(self._current).fail(item, reason)
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

        Holds at the next item while the run is paused, and raises `Cancelled` there when it is cancelled. A loop
        within a loop over the same stage is a part of what that one counts, and counts nothing.
        """
        if not self._server.url:
            return aiter(iterable) if isinstance(iterable, AsyncIterable) else iter(iterable)
        name = self._current if stage is None else stage_name(stage)
        cell = Cell(length(iterable) if total is None else total)
        if isinstance(iterable, AsyncIterable):
            who = looper()
            items = self._iterate_async(iterable, name, cell, who)
            return AsyncItems(items, lambda: self._fold(name, cell, who))
        return self._iterate(iterable, name, cell)

    def _iterate(self, iterable: Iterable[T], name: str, cell: Cell) -> Iterator[T]:
        who = looper()
        is_outermost = self._follow(name, cell, who)
        flag, done = self._flag, 0
        try:
            for item in iterable:
                if flag.is_up:
                    self.hold()
                yield item
                done += 1
                cell.done = done
        finally:
            if is_outermost:
                self._fold(name, cell, who)

    async def _iterate_async(
        self, iterable: AsyncIterable[T], name: str, cell: Cell, who: object
    ) -> AsyncGenerator[T, None]:
        is_outermost = self._follow(name, cell, who)
        flag, done = self._flag, 0
        try:
            async for item in iterable:
                while flag.is_up and self._must_hold():  # noqa: ASYNC110 -- set by a thread that knows no loop
                    await asyncio.sleep(0.1)
                yield item
                done += 1
                cell.done = done
        finally:
            if is_outermost:
                self._fold(name, cell, who)

    def _follow(self, name: str, cell: Counter, who: object) -> bool:
        """Count what ``cell`` counts as a stage of that name, until it is folded, unless ``who`` is at that already."""
        with self._lock:
            share = self._share(name)
            if who in share.loopers:
                return False
            share.loopers.add(who)
            share.cells.append(cell)
            self._current = name
        self._start()
        return True

    def _fold(self, name: str, cell: Counter, who: object) -> None:
        """Keep what a counter that is over has counted, without it. Nothing where that was done."""
        with self._lock:
            share = self._share(name)
            if cell in share.cells:
                share.loopers.discard(who)
                share.fold(cell)

    def hold(self) -> None:
        """Wait while the run is paused. Raises `Cancelled`. Loops of `track` do so by themselves."""
        while self._flag.is_up and self._must_hold():
            time.sleep(0.1)

    def _must_hold(self) -> bool:
        """Whether the loop is to wait. Raises `Cancelled`."""
        if self._control == "cancel":
            raise Cancelled(f"The run of {self.dataset} was cancelled.")
        return self._control == "pause" and self._clock() - self._confirmed < HOLD_SECONDS

    def _share(self, name: str) -> Share:
        """What was done here of a stage. The lock is held."""
        return self._shares.setdefault(name, Share())

    def _own_cell(self) -> ThreadCell:
        """The cell of this thread in the stage under way."""
        if not hasattr(self._local, "cells"):
            self._local.cells = {}
        cell = ThreadCell()
        with self._lock:
            name = self._current
            share = self._share(name)
            share.fold_ended_threads()
            share.cells.append(cell)
        self._local.cells[name] = cell
        self._start()
        return cell

    def _so_far(self) -> str:
        """What was done of the stage under way, in words."""
        with self._lock:
            share = self._share(self._current)
            return f"{share.done:,} of {share.total:,}" if share.total else f"{share.done:,}"

    def _is_around(self, dataset: str, server: Server) -> bool:
        """Whether it is what a loop of that dataset goes on within."""
        return self._is_entered and not self._is_closed and (self.dataset, self._server) == (dataset, server)

    # --- Beginning and ending ----------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._sender is not None or self._is_closed or not self._server.url:
            return
        with self._lock:
            if self._sender is not None or self._is_closed:
                return
            try:
                self._sender = Sender(self, Api(self._server, self._transport), self._clock)
            except Exception as error:  # no thread can be started, or none any more
                self._server = Server("", "")
                logger.warning("progress is not reported: %s (the job goes on; this is said once)", error)
            else:
                _processes.flush_before_it_ends()

    def __enter__(self) -> Run:
        self._is_entered = True
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(error)

    async def __aenter__(self) -> Run:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose(error)

    def close(self, error: BaseException | str | None = None) -> bool:
        """End the run: ready, or failed with ``error``. Closing again changes nothing.

        Says whether the server has heard of everything; True where there is none to hear of it. Where it has not, it
        is told later if it comes back while the program goes on.
        """
        with _processes.uninterrupted():
            self._begin_to_close(error)
            return self._sender is None or (self._sender.wait() and not self._is_end_refused)

    def _begin_to_close(self, error: BaseException | str | None = None) -> None:
        if self._finishes:
            self._start()
        if isinstance(error, SystemExit) and not error.code:
            error = None  # it has left as it meant to
        with self._lock:
            is_first = not self._is_closed
            self._is_closed = True
            if is_first and self._finishes:
                self._ending = {"state": "ready"} if error is None else {"state": "error", "error": values.words(error)}
        if self._sender is None or not is_first:
            return
        seconds = self._flush_seconds
        if self._finishes and self._is_shared and error is None:
            # What other processes have just counted is on its way; a report that comes after the end is refused.
            time.sleep(others := min(2 * INTERVAL_SECONDS, seconds / 2))
            seconds -= others
        self._sender.close(seconds)

    async def aclose(self, error: BaseException | str | None = None) -> bool:
        """`close`, while the event loop goes on."""
        return await asyncio.to_thread(self.close, error)

    def _leave(self) -> None:
        """A loop was left early, for a reason that it cannot know: an exception that ends the program, or a ``break``.

        The run fails in a few seconds, with what little is known, unless the program ends first and says more.
        """
        self._left = f"The loop was left after {self._so_far()}."
        timer = threading.Timer(LEFT_SECONDS, self.close, [self._left])
        timer.daemon = True
        with suppress(RuntimeError):  # the program is ending
            timer.start()

    def is_held_here(self) -> bool:
        """Whether this thread is in the middle of a change of it, which a signal has interrupted."""
        return self._lock._is_owned()  # type: ignore[attr-defined, no-any-return]

    def _wait(self) -> None:
        """Where it is closed, wait for its last word."""
        if self._is_closed and self._sender is not None:
            self._sender.wait()

    def _end_with_program(self, error: BaseException | None, *, was_killed: bool = False) -> None:
        """The program ends, by ``error`` or not, and nobody has closed the run. Waits for nothing."""
        if self._sender is None or self._is_closed:
            return
        if error is not None and error is not self._died_before:
            self._begin_to_close(error)
        elif self._left:
            self._begin_to_close(self._left)
        else:
            with self._lock:
                share = self._share(self._current)
                is_through = not was_killed and (share.total is None or share.done >= share.total)
            self._begin_to_close(None if is_through else f"The program ended after {self._so_far()}.")

    # --- What the sender asks for ------------------------------------------------------------------------------------

    def begin(self, api: Api) -> None:
        """Begin the run, or find it by its key."""
        body = {"stages": self._stages, "idempotency_key": self._key, "replace": not self._left}
        self._number = api.begin(self.dataset, body)

    def _update(self, **said: Any) -> dict[str, Any]:
        return {"dataset_id": self.dataset, "run": self._number, **said}

    def news(self, *, final: bool) -> list[dict[str, Any]]:
        """The stages of which more is done than was told, the one under way last, and then the end."""
        updates = []
        failing = _Failures()
        with self._lock:
            names = [name for name in self._shares if name != self._current]
            for name in [*names, self._current]:
                if (share := self._shares.get(name)) is None:
                    continue
                said: dict[str, Any] = {"current": values.count(share.done), "failed": share.failed}
                if share.total is not None:
                    said["total"] = values.count(share.total)
                listed = failing.take(share.failures)
                if said != self._told.get(name) or listed:
                    updates.append(self._update(stage=name, worker=self._worker, failures=listed, **said))
            if self._message != self._told_message:
                updates.append(self._update(message=self._message))
            if final and self._ending and not failing.have_more:
                updates.append(self._update(**self._ending))
        return updates

    def heartbeat(self) -> list[dict[str, Any]]:
        return [self._update()]

    def is_paused(self) -> bool:
        return self._control == "pause"

    def told(self, updates: list[dict[str, Any]], results: list[dict[str, Any]]) -> Refused | None:
        """The server has answered, an update at a time."""
        never: Refused | None = None
        again: Refused | None = None
        for update, result in zip(updates, results, strict=True):
            status, code = int(result.get("status", 0)), str(result.get("code"))
            refusal = Refused(status, code, str(result.get("detail")))
            if status == 200:
                self._control = str(result.get("control"))
                self._confirmed = self._clock()
            elif code == "run_finished" or status == 404:
                raise Over(refusal)
            elif code == "conflict" or status not in (409, 422):
                again = refusal
                continue
            else:
                never = refusal
                self._is_end_refused |= "state" in update
            self._note(update)
        self._flag.is_up = self._obeys and self._control in ("pause", "cancel")
        if again is not None:
            raise again
        return never

    def dropped(self, updates: list[dict[str, Any]]) -> None:
        """The server takes none of these as they are; an end is said once more, by itself."""
        for update in updates:
            if "state" not in update or len(updates) == 1:
                self._is_end_refused |= "state" in update
                self._note(update)

    def _note(self, update: dict[str, Any]) -> None:
        """An update needs not be said again."""
        with self._lock:
            if "state" in update:
                self._ending = {}
            self._told_message = update.get("message", self._told_message)
            if (name := update.get("stage")) is not None:
                self._told[name] = {key: update[key] for key in ("current", "failed", "total") if key in update}
                del self._shares[name].failures[: len(update["failures"])]

    def over(self, api: Api) -> None:
        """Whoever cancelled the run while nothing was heard of it meant this job; whoever began another did not."""
        now = api.progress(self.dataset)
        if now.get("run") == self._number and now.get("cancelled"):
            self._control = "cancel"
            self._flag.is_up = self._obeys

    def ended(self) -> None:
        """Nobody reports any more, so that nobody could say Resume."""
        if self._control == "pause":
            self._control = "run"
            self._flag.is_up = False


class _Failures:
    """Those that one request lists: as many as the server takes, and as a proxy lets through."""

    def __init__(self) -> None:
        self._items, self._characters = FAILURES_AT_ONCE, CHARACTERS_AT_ONCE
        self.have_more = False

    def take(self, failures: list[tuple[str, str]]) -> list[dict[str, str]]:
        """The first of ``failures``, as they are listed."""
        taken: list[dict[str, str]] = []
        for item, reason in failures:
            if self._items == 0 or self._characters <= 0:
                self.have_more = True
                break
            self._items -= 1
            self._characters -= len(item) + len(reason)
            taken.append({"item": item, "reason": reason})
        return taken


def length(iterable: object) -> int | None:
    """How many items there are, where that can be known."""
    try:
        return len(iterable)  # type: ignore[arg-type]  # asked, not known
    except Exception:
        return None


def _server(dataset: str, url: str | None, token: str | None) -> Server:
    """Where to report; nowhere under a name that no dataset can have."""
    server = Server.find(url, token)
    if not server.url:
        _say_nowhere()
        return server
    try:
        values.dataset_id(dataset)
    except ValueError as error:
        logger.warning("progress is not reported: %s", error)
        return Server("", "")
    return server


def _flush_seconds(said: float | None) -> float:
    given = os.environ.get("DATASET_PROGRESS_FLUSH_SECONDS", "") if said is None else said
    try:
        seconds = float(given) if given != "" else FLUSH_SECONDS
        if math.isnan(seconds):
            raise ValueError
    except (TypeError, ValueError):
        logger.warning("flush_seconds=%s is not a number; it is taken for %g", given, FLUSH_SECONDS)
        return FLUSH_SECONDS
    return min(max(seconds, 0.0), 86_400.0)


def _say_nowhere() -> None:
    global _has_said_nowhere
    if not _has_said_nowhere:
        _has_said_nowhere = True
        logger.debug("progress is reported nowhere: there is no DATASET_PROGRESS_URL")
