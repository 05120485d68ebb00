"""The live state of a dataset, for programs: pushed, or polled where it cannot be, or kept by hand."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from . import _values as values
from ._api import Api, Server, logger
from ._errors import ProgressError, Refused, Unreachable
from ._fork import forks_held_off

if TYPE_CHECKING:
    import httpx

Mode = Literal["websocket", "polling", "manual"]

ATTEMPTS = 5
# After them it is polled, and the socket is tried again so often.
RETURN_SECONDS = 30.0
LONGEST_WAIT_SECONDS = 30.0
# How soon it is noticed that nobody watches any more.
RECEIVE_SECONDS = 0.25
STOP_SECONDS = 2.0


@dataclass(frozen=True)
class Progress:
    """How far a dataset is. ``details``: everything that the server says of it."""

    dataset_id: str
    state: str = "pending"
    current: int = 0
    total: int = 0
    message: str = ""
    error: str | None = None
    percent: float | None = None
    version: int = 0
    details: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def is_finished(self) -> bool:
        return self.state in ("ready", "error")

    @classmethod
    def parse(cls, told: Any) -> Progress:
        """Raises `Unreachable` for what is no `DatasetProgress`."""
        try:
            return cls(
                dataset_id=str(told["dataset_id"]), state=str(told["state"]), current=int(told["current"]),
                total=int(told["total"]), message=str(told["message"]), error=told["error"],
                percent=told.get("percent"), version=int(told["version"]), details=told,
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise Unreachable(f"the server does not answer as Dataset Progress does: {error!r}") from error


class Watch:
    """Watches a dataset until it is ready or failed. ``mode``: ``websocket`` is told of every change (and polls where
    no socket can be had), ``polling`` asks every ``polling_interval`` seconds, ``manual`` shows what `update` is given.

    Start it with `start`, a ``with`` block, or by going through it: each turn of the loop is the newest state, and
    leaving a loop that has started it stops it. While it does not hear of the dataset, `trouble` says why; after
    ``max_failures`` failed requests in a row it gives up, and `error` says why. Raises `ValueError` for a mode, an
    interval, or an id that none can have, and where there is no address.
    """

    def __init__(
        self,
        dataset_id: str,
        mode: Mode = "websocket",
        polling_interval: float = 2.0,
        *,
        max_failures: int = 10,
        url: str | None = None,
        token: str | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        if mode not in ("websocket", "polling", "manual"):
            raise ValueError(f"mode is websocket, polling or manual, not {mode!r}")
        if not polling_interval > 0:
            raise ValueError(f"polling_interval is more than 0 seconds, not {polling_interval!r}")
        self.dataset_id = values.dataset_id(dataset_id)
        self.mode = mode
        self.polling_interval = polling_interval
        self.max_failures = max_failures
        self.progress: Progress | None = None
        self.error: ProgressError | None = None
        self.trouble: ProgressError | None = None
        self._server = Server.find(url, token)
        self._api = Api(self._server, transport)
        self._changed = threading.Condition()
        self._wakers: list[Callable[[], object]] = []
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None
        self._attempts = 0  # to have a socket, in a row, of which nothing came
        self._failures = 0  # to be answered, in a row
        if mode == "manual":
            self.progress = Progress(dataset_id)
        elif not self._server.url:
            raise ValueError("where is the server? Set DATASET_PROGRESS_URL, or pass url=")

    @property
    def is_loading(self) -> bool:
        """Whether nothing is known yet."""
        return self.progress is None and self.error is None

    @property
    def is_over(self) -> bool:
        """Whether it watches no more."""
        return self._is_over.is_set()

    def start(self) -> Watch:
        """Begin to watch; nothing where it has begun."""
        if self._thread is None and self.mode != "manual":
            self._thread = threading.Thread(target=self._watch, name="dataset-progress-watch", daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        """Watch no more; what was seen last stays. A request under way ends by itself."""
        self._end()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(STOP_SECONDS)

    def __enter__(self) -> Watch:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __iter__(self) -> Iterator[Progress]:
        """Each newer state, the newest at each turn, until the dataset is ready or failed. Raises what ended it."""
        seen: Progress | None = None
        is_ours = self._thread is None
        self.start()
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._is_over.is_set() or self._newer(seen) is not None)  # noqa: B023
                    newer = self._newer(seen)
                if newer is None:
                    break
                seen = newer
                yield seen
        finally:
            if is_ours and self.mode != "manual":
                self._end()
        if self.error is not None:
            raise self.error

    async def __aiter__(self) -> AsyncIterator[Progress]:
        loop = asyncio.get_running_loop()
        news = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(news.set)

        seen: Progress | None = None
        is_ours = self._thread is None
        with self._changed:
            self._wakers.append(wake)
        self.start()
        try:
            while True:
                news.clear()
                is_over = self._is_over.is_set()
                if (newer := self._newer(seen)) is not None:
                    seen = newer
                    yield seen
                elif is_over:
                    break
                else:
                    await news.wait()
        finally:
            with self._changed:
                self._wakers.remove(wake)
            if is_ours and self.mode != "manual":
                self._end()
        if self.error is not None:
            raise self.error

    def _newer(self, seen: Progress | None) -> Progress | None:
        """The state, unless it is ``seen``."""
        return None if self.progress == seen else self.progress

    # --- By hand -----------------------------------------------------------------------------------------------------

    def update(self, current: int, total: int | None = None, message: str = "", state: str = "indexing") -> None:
        """In manual mode: this is how far it is."""
        before = self._by_hand()
        total = before.total if total is None else total
        percent = 100 * current / total if total else None
        self._show(
            replace(before, state=state, current=current, total=total, message=message, percent=percent, error=None)
        )

    def set_ready(self) -> None:
        """In manual mode: it is done."""
        before = self._by_hand()
        self._show(replace(before, state="ready", current=before.total or before.current, percent=100.0, error=None))
        self._end()

    def set_error(self, error: str) -> None:
        """In manual mode: it has failed."""
        self._show(replace(self._by_hand(), state="error", error=error))
        self._end()

    def _by_hand(self) -> Progress:
        if self.mode != "manual" or self.progress is None:
            raise RuntimeError("this is for mode='manual'")
        return self.progress

    # --- By itself ---------------------------------------------------------------------------------------------------

    def _show(self, progress: Progress) -> None:
        with self._changed:
            if self.progress is None or self.mode == "manual" or progress.version >= self.progress.version:
                self.progress = progress
            self.trouble = None
            self._failures = 0
            self._notify()

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

    def _watch(self) -> None:
        try:
            if self.mode == "websocket":
                self._by_socket()
            else:
                self._by_polling(None)
        except ProgressError as error:
            self._end(error)
        except Exception as error:
            logger.warning("watching %s has failed", self.dataset_id, exc_info=True)
            self._end(Unreachable(f"{type(error).__name__}: {error}"))
        else:
            self._end()
        finally:
            self._api.close()

    def _is_done(self) -> bool:
        return self._is_over.is_set() or (self.progress is not None and self.progress.is_finished)

    def _by_polling(self, seconds: float | None) -> None:
        """Ask until it is finished, or for so many ``seconds``. Raises what was the matter ``max_failures`` times."""
        end = None if seconds is None else time.monotonic() + seconds
        while not self._is_done():
            asked_for = 0.0
            try:
                self._show(Progress.parse(self._api.progress(self.dataset_id)))
            except ProgressError as error:
                if isinstance(error, Refused):
                    if error.status in (401, 403, 404):
                        raise
                    asked_for = error.retry_after
                self._failed(error)
            if self._is_done() or (end is not None and time.monotonic() >= end):
                return
            backoff = min(self.polling_interval * 2 ** min(self._failures, 10), LONGEST_WAIT_SECONDS)
            self._is_over.wait(max(self.polling_interval, backoff, asked_for))

    def _failed(self, error: ProgressError) -> None:
        self.trouble = error
        self._failures += 1
        if self._failures >= self.max_failures:
            raise error

    def _by_socket(self) -> None:
        while not self._is_done():
            try:
                self._listen()
            except Unreachable as error:
                self._attempts += 1
                self.trouble = error
                logger.debug("the socket of %s: %s", self.dataset_id, error)
            if self._is_done():
                return
            if self._attempts >= ATTEMPTS:
                self._by_polling(RETURN_SECONDS)
                self._attempts -= 1  # one attempt, and polling again should it fail
            else:
                self._is_over.wait(random.uniform(0, 0.2 * 2**self._attempts))  # noqa: S311 -- a wait

    def _listen(self) -> None:
        """Hear what the socket says until it closes. Raises `Refused`, and `Unreachable` where there is none."""
        try:
            with forks_held_off():
                from websockets.exceptions import ConnectionClosed, WebSocketException
                from websockets.sync.client import connect
        except ImportError:
            self.mode = "polling"
            logger.info("watching by polling: pip install dataset-progress[websocket] to be told of changes")
            return self._by_polling(None)
        address = f"ws{self._server.url.removeprefix('http')}/api/datasets/{self.dataset_id}/progress/ws"
        headers = {"Authorization": f"Bearer {self._server.token}"} if self._server.token else {}
        try:
            with forks_held_off():
                socket = connect(address, additional_headers=headers, open_timeout=10, close_timeout=1)
            with socket:
                socket.send(json.dumps({"type": "subscribe", "dataset_id": self.dataset_id}))
                while not self._is_done():
                    try:
                        self._hear(json.loads(socket.recv(timeout=RECEIVE_SECONDS)))
                    except TimeoutError:  # noqa: PERF203 -- once a second
                        continue
        except ConnectionClosed as closed:
            if closed.rcvd is not None and closed.rcvd.code == 4404:
                self._api.progress(self.dataset_id)  # says why: there is none, or not with this token
            raise Unreachable(str(closed)) from closed
        except (WebSocketException, OSError, ValueError) as error:
            raise Unreachable(f"{type(error).__name__}: {error}") from error
        return None

    def _hear(self, message: Any) -> None:
        if not isinstance(message, dict):
            raise Unreachable("this is no message")
        if message.get("type") == "progress_update":
            self._show(Progress.parse(message.get("payload")))
            self._attempts = 0
        elif message.get("type") == "error":
            logger.debug("the server says: %s", message.get("message"))


def watch(dataset_id: str, mode: Mode = "websocket", polling_interval: float = 2.0, **options: Any) -> Watch:
    """Watch a dataset; see `Watch`.

    for progress in watch("cats"):
        print(progress.state, progress.current, progress.total)
    """
    return Watch(dataset_id, mode, polling_interval, **options)
