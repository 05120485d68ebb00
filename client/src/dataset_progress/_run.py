"""`Run`, with which a job reports: an object with counters that cost next to nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from . import _values as values
from ._api import Server
from ._counting import LoopCounter
from ._iterating import iterate, iterate_async, length
from ._registry import Registry
from ._session import Session, session_of_copy
from ._settings import RunSettings
from ._stages import Stage, stage_name

if TYPE_CHECKING:
    import httpx

__all__ = ["Run"]

T = TypeVar("T")


class Run:
    """Reports one pass over a dataset. Use it in a ``with`` block, or call `close` at the end.

    Leaving the block makes the dataset ready. An exception makes it fail with the exception's message, and is not
    swallowed.

    ``dataset``: the dataset's id. The server creates the dataset if there is none.
    ``stages``: the stages that are known beforehand, by name or as `Stage`. Others are created when they begin.
    ``key``: an idempotency key. Processes with the same key share one run; all but one pass ``finish=False``. Without
    one, ``DATASET_PROGRESS_KEY`` is the key, and a run of the dataset that others report at the moment is shared.
    ``worker``: the name of this process's share of the work. Work that is repeated under its name counts once.
    ``visibility``: "public", seen by anyone who can reach the server (or sign in, where it asks for that); "private",
    seen by the owner, members and staff. ``owner``, ``members``: names of the server's users. None leaves what is set.
    The server refuses the run if the token may not set them, or if it has no user of a name.
    ``finish``: whether leaving the block ends the run. If programs share it without a ``key``, or with ``shares_end``,
    it ends when the last has left.
    ``obey``: whether `track` waits while the run is paused, and raises `Cancelled` when it is cancelled.
    ``url``, ``token``: the server; default: ``DATASET_PROGRESS_URL`` and ``DATASET_PROGRESS_TOKEN``.
    ``flush_seconds``: how long leaving may take; default: ``DATASET_PROGRESS_FLUSH_SECONDS``, else 2.
    ``traceback``: whether an error is reported with the last frames of its traceback.
    ``batch``: the id of a batch that the dataset is to be in. The server creates it if there is none, and refuses the
    run if the batch is another's.
    ``link``: the job's own page, https://…, shown with the run to those who may steer the dataset.
    ``quiet``: do not print the address of the dataset's page, as is done once on a terminal; also
    ``DATASET_PROGRESS_QUIET``.
    ``transport``: a transport of httpx. ``clock``: a function that returns monotonic seconds.

    Without an address it reports nowhere and costs nothing. Apart from pause and cancel (``obey``) it never raises
    because of the server or an argument, and waits for the server only when it is left. A `Run` can be pickled, and
    used in forked processes: each process counts its own share, and the process that created the run ends it.
    """

    def __init__(
        self,
        dataset: str,
        *,
        stages: Sequence[Stage | str] = (),
        key: str | int | None = None,
        worker: str | int | None = None,
        visibility: Literal["public", "private"] | None = None,
        owner: str | None = None,
        members: Iterable[str] | None = None,
        finish: bool = True,
        obey: bool = True,
        url: str | None = None,
        token: str | None = None,
        flush_seconds: float | None = None,
        traceback: bool = True,
        link: str | None = None,
        batch: str | None = None,
        quiet: bool = False,
        shares_end: bool = False,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        settings = RunSettings.resolve(
            dataset,
            stages=stages,
            key=key,
            visibility=visibility,
            owner=owner,
            members=members,
            obey=obey,
            url=url,
            token=token,
            flush_seconds=flush_seconds,
            traceback=traceback,
            link=link,
            batch=batch,
            quiet=quiet,
        )
        shares = finish and (key is None or shares_end)
        self._use(
            Session(
                settings, stage=settings.first_stage, finishes=finish, shares=shares, worker=worker,
                transport=transport, clock=clock,
            )
        )  # fmt: skip

    def _use(self, session: Session) -> None:
        self._session = session
        self._counts = session.counts

    def __getstate__(self) -> dict[str, Any]:
        return self._session.to_be_copied()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._use(session_of_copy(state))

    def __repr__(self) -> str:
        return f"<Run of {self.dataset}>"

    @property
    def dataset(self) -> str:
        """The dataset's id."""
        return self._session.settings.dataset_id

    # --- Counting ----------------------------------------------------------------------------------------------------

    def stage(self, name: str, total: int | None = None) -> Run:
        """Begin a stage of ``total`` items, or go on with it. What is counted from now on is counted there."""
        self._counts.begin_stage(stage_name(name), total)
        self._session.start()
        return self

    def advance(self, n: int = 1) -> None:
        """Count ``n`` more items of the stage under way as done. May be called from any thread.

        Then waits while the run is paused, unless that would block an event loop, and raises `Cancelled` when it is
        cancelled. Where a callback of a pool or an event loop would lose that, the run ends as cancelled.
        """
        counts = self._counts
        try:
            counter = counts.by_thread.counters[counts.stage]
        except (AttributeError, KeyError):  # the first call in this thread, or in this stage
            counter = counts.add_thread()
            self._session.start()
        counter.done += n if type(n) is int else values.count(n)
        if (control := self._session.control).is_requested:
            control.hold()

    def set(self, current: int | None = None, total: int | None = None, message: str | None = None) -> None:
        """Set how many items this process has done of the stage under way, of how many, and a line for people.

        Waits and raises `Cancelled` as `advance` does, if ``current`` is given.
        """
        self._counts.set(current, total, message)
        self._session.start()
        if current is not None and (control := self._session.control).is_requested:
            control.hold()

    def fail_item(self, item: object, reason: object = "") -> None:
        """List an item that could not be processed. The run goes on. This does not count the item as done."""
        self._counts.fail_item(item, reason)
        self._session.start()

    @overload
    def track(self, iterable: Iterable[T], *, stage: str | None = None, total: int | None = None) -> Iterator[T]: ...
    @overload
    def track(
        self, iterable: AsyncIterable[T], *, stage: str | None = None, total: int | None = None
    ) -> AsyncIterator[T]: ...

    def track(
        self, iterable: Iterable[T] | AsyncIterable[T], *, stage: str | None = None, total: int | None = None
    ) -> Iterator[T] | AsyncIterator[T]:
        """Iterate over ``iterable`` and count each item as done when the loop asks for the next.

        ``stage``: the stage that it counts in; default: the one under way. ``total``: the number of items; default:
        the iterable's length, if it has one. Waits at the next item while the run is paused, and raises `Cancelled`
        there when it is cancelled. A loop inside a loop over the same stage counts nothing: it is a part of it.
        """
        if not self._session.is_enabled:
            return aiter(iterable) if isinstance(iterable, AsyncIterable) else iter(iterable)
        name = self._counts.stage if stage is None else stage_name(stage)
        counter = LoopCounter(length(iterable) if total is None else total)
        if isinstance(iterable, AsyncIterable):
            return iterate_async(iterable, self._session, name, counter)
        return iterate(iterable, self._session, name, counter)

    def wait_while_paused(self) -> None:
        """Block while the run is paused. Raises `Cancelled` when it is cancelled. `track` calls it for each item."""
        self._session.control.wait_while_paused()

    # --- Beginning and ending ----------------------------------------------------------------------------------------

    def __enter__(self) -> Run:
        if self._session.is_enabled:
            _entered.add(self)
        self._session.start()
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
        """Stop reporting, and with ``finish`` end the run: ready, or failed with ``error``.

        Closing it again changes nothing.

        Waits for the last report, at most ``flush_seconds``. Returns whether the server acknowledged everything; True
        if there is no server. What it did not acknowledge is retried for ten minutes, while the program goes on.
        """
        return self._session.close(error)

    async def aclose(self, error: BaseException | str | None = None) -> bool:
        """`close` without blocking the event loop."""
        return await asyncio.to_thread(self.close, error)


_entered: Registry[Run] = Registry()


def session_of(run: Run) -> Session:
    """Return the session of a run, for the other modules of this package."""
    return run._session


def entered_run(dataset_id: str, server: Server) -> Run | None:
    """Return the run of a dataset whose ``with`` block this program is in."""
    for run in _entered:
        session = session_of(run)
        if not session.is_closed and (run.dataset, session.settings.server) == (dataset_id, server):
            return run
    return None
