"""`watch`, with which programs read the progress of a dataset live."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from ._api import Api, Server, logger
from ._errors import ProgressError, Unreachable
from ._ids import dataset_id as valid_id
from ._progress import Progress
from ._watcher import Watcher

if TYPE_CHECKING:
    import httpx

__all__ = ["Watch", "watch"]

Mode = Literal["websocket", "polling", "manual"]

STOP_SECONDS = 2.0


class Watch:
    """Watches a dataset until it is ready or has failed.

    ``mode``: ``websocket`` receives every change, and polls where no WebSocket can be opened. ``polling`` asks every
    ``polling_interval`` seconds. ``manual`` shows what `update`, `set_ready` and `set_error` are given.
    ``max_failures``: how many requests may fail in a row before it gives up.
    ``wait``: for how many seconds to wait for a dataset that does not exist yet. ``linger``: for how many seconds to go
    on watching a dataset that is finished, in case another run begins.
    ``on_retry``: called on a thread with ``"all"`` or ``"failed"`` when somebody asks for the dataset to be done again,
    once for each request; the next run that begins takes the request. With it, a finished dataset is watched on until
    `stop`.
    ``url``, ``token``: the server; default: ``DATASET_PROGRESS_URL`` and ``DATASET_PROGRESS_TOKEN``.
    ``transport``: a transport of httpx.

    Start it with `start`, with a ``with`` block, or with a ``for`` or ``async for`` loop, each turn of which has the
    newest state. A loop that started it stops it when it is left.

    ``progress`` is the newest state, None until it is known. ``trouble`` says why the server cannot be reached at the
    moment, None if it can. ``error`` says why it gave up; loops raise it.

    Raises `ValueError` for an unknown mode, an interval that is not positive, an invalid dataset id, and without an
    address.
    """

    def __init__(
        self,
        dataset_id: str,
        mode: Mode = "websocket",
        polling_interval: float = 2.0,
        *,
        max_failures: int = 10,
        wait: float = 0.0,
        linger: float = 0.0,
        on_retry: Callable[[str], object] | None = None,
        url: str | None = None,
        token: str | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        if mode not in ("websocket", "polling", "manual"):
            raise ValueError(f"mode must be websocket, polling or manual, not {mode!r}")
        if not polling_interval > 0:
            raise ValueError(f"polling_interval must be more than 0 seconds, not {polling_interval!r}")
        self.dataset_id = dataset_id = valid_id(dataset_id)
        self.progress: Progress | None = None
        self.error: ProgressError | None = None
        self.trouble: ProgressError | None = None
        self._changed = threading.Condition()
        self._wakers: list[Callable[[], object]] = []
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None
        self._watcher: Watcher | None = None
        self._on_retry = on_retry
        self._last_retry: str | None = None
        if mode == "manual":
            self.progress = Progress(dataset_id)
            return
        server = Server.find(url, token)
        if not server.url:
            raise ValueError("no server to watch: set DATASET_PROGRESS_URL or pass url=")
        linger = linger if on_retry is None else math.inf
        self._watcher = Watcher(
            dataset_id, Api(server, transport), mode=mode, polling_interval=polling_interval,
            max_failures=max_failures, wait=wait, linger=linger, stopped=self._is_over, on_progress=self._set,
            on_trouble=self._set_trouble,
        )  # fmt: skip

    @property
    def mode(self) -> Mode:
        """How it watches. ``websocket`` becomes ``polling`` if the package ``websockets`` is not installed."""
        return "manual" if self._watcher is None else self._watcher.mode

    @property
    def is_loading(self) -> bool:
        """Whether nothing is known yet."""
        return self.progress is None and self.error is None

    @property
    def is_over(self) -> bool:
        """Whether it has stopped watching."""
        return self._is_over.is_set()

    def start(self) -> Watch:
        """Begin to watch, on a thread. Does nothing if it has begun."""
        if self._thread is None and self._watcher is not None:
            self._thread = threading.Thread(
                target=self._work, args=[self._watcher], name="dataset-progress-watch", daemon=True
            )
            self._thread.start()
        return self

    def stop(self) -> None:
        """Stop watching and keep ``progress``. Waits at most 2 seconds for the thread to end."""
        self._end()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(STOP_SECONDS)

    def __enter__(self) -> Watch:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # --- Loops -------------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Progress]:
        """Yield each new state until the dataset is ready or has failed. Raises ``error``."""
        seen: Progress | None = None
        is_starting = self._thread is None
        self.start()
        try:
            while (newer := self._wait_for_newer(seen)) is not None:
                seen = newer
                yield seen
        finally:
            if is_starting and self._watcher is not None:
                self._end()
        if self.error is not None:
            raise self.error

    def _wait_for_newer(self, seen: Progress | None) -> Progress | None:
        """Wait for another state than ``seen``; None if there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_over.is_set() or self._newer(seen) is not None)
            return self._newer(seen)

    async def __aiter__(self) -> AsyncIterator[Progress]:
        """Yield each new state until the dataset is ready or has failed. Raises ``error``."""
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(changed.set)

        seen: Progress | None = None
        is_starting = self._thread is None
        with self._changed:
            self._wakers.append(wake)
        self.start()
        try:
            while True:
                changed.clear()
                is_over = self._is_over.is_set()
                if (newer := self._newer(seen)) is not None:
                    seen = newer
                    yield seen
                elif is_over:
                    break
                else:
                    await changed.wait()
        finally:
            with self._changed:
                self._wakers.remove(wake)
            if is_starting and self._watcher is not None:
                self._end()
        if self.error is not None:
            raise self.error

    def _newer(self, seen: Progress | None) -> Progress | None:
        return None if self.progress == seen else self.progress

    # --- Manual mode -------------------------------------------------------------------------------------------------

    def update(self, current: int, total: int | None = None, message: str = "", state: str = "indexing") -> None:
        """Set the progress. ``total``: default: as before. Raises `RuntimeError` in another mode than manual."""
        before = self._manual_progress()
        total = before.total if total is None else total
        percent = 100 * current / total if total else None
        self._set(
            replace(before, state=state, current=current, total=total, message=message, percent=percent, error=None)
        )

    def set_ready(self) -> None:
        """Set the state to ready and stop. Raises `RuntimeError` in another mode than manual."""
        before = self._manual_progress()
        self._set(replace(before, state="ready", current=before.total or before.current, percent=100.0, error=None))
        self._end()

    def set_error(self, error: str) -> None:
        """Set the state to error and stop. Raises `RuntimeError` in another mode than manual."""
        self._set(replace(self._manual_progress(), state="error", error=error))
        self._end()

    def _manual_progress(self) -> Progress:
        if self._watcher is not None or self.progress is None:
            raise RuntimeError("only mode='manual' can be updated")
        return self.progress

    # --- Changes -----------------------------------------------------------------------------------------------------

    def _work(self, watcher: Watcher) -> None:
        try:
            watcher.run()
        except ProgressError as error:
            self._end(error)
        except Exception as error:
            logger.warning("watching %s failed unexpectedly", self.dataset_id, exc_info=True)
            self._end(Unreachable(f"{type(error).__name__}: {error}"))
        else:
            self._end()

    def _set_trouble(self, error: ProgressError | None) -> None:
        self.trouble = error

    def _set(self, progress: Progress) -> None:
        with self._changed:
            self.progress = progress
            self._notify()
        retry = progress.details.get("retry")
        if retry and retry != self._last_retry and self._on_retry is not None:
            threading.Thread(target=self._retry, args=[self._on_retry, retry], name="dataset-progress-retry").start()
        self._last_retry = retry

    def _retry(self, on_retry: Callable[[str], object], retry: str) -> None:
        try:
            on_retry(retry)
        except Exception:
            logger.warning("the retry of %s failed", self.dataset_id, exc_info=True)

    def _end(self, error: ProgressError | None = None) -> None:
        with self._changed:
            self.error = self.error or error
            self._is_over.set()
            self._notify()

    def _notify(self) -> None:
        self._changed.notify_all()
        for wake in self._wakers:
            with suppress(RuntimeError):  # its event loop is closed
                wake()


def watch(dataset_id: str, mode: Mode = "websocket", polling_interval: float = 2.0, **options: Any) -> Watch:
    """Watch a dataset. Returns a `Watch`, which has the same options.

    for progress in watch("cats"):
        print(progress.state, progress.current, progress.total)
    """
    return Watch(dataset_id, mode, polling_interval, **options)
