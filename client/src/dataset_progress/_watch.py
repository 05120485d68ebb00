"""The live state of a dataset, for programs: pushed, or polled where it cannot be, or kept by hand."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

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
RECEIVE_SECONDS = 1.0


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
    def parse(cls, told: dict[str, Any]) -> Progress:
        """Raises `Unreachable` for what is no `DatasetProgress`."""
        try:
            return cls(
                dataset_id=str(told["dataset_id"]), state=str(told["state"]), current=int(told["current"]),
                total=int(told["total"]), message=str(told["message"]), error=told["error"],
                percent=told.get("percent"), version=int(told["version"]), details=told,
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise Unreachable(f"this is no progress: {error!r}") from error


class Watch:
    """Watches a dataset until it is ready or failed. ``mode``: ``websocket`` is told of every change (and polls where
    no socket can be had), ``polling`` asks every ``polling_interval`` seconds, ``manual`` shows what `update` is given.

    Start it with `start`, a ``with`` block, or by going through it: each turn of the loop is the newest state. It gives
    up after ``max_failures`` failed requests in a row; `error` says why.
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
        self.dataset_id = dataset_id
        self.mode = mode
        self.polling_interval = polling_interval
        self.max_failures = max_failures
        self.progress: Progress | None = None
        self.error: ProgressError | None = None
        self._server = Server.find(url, token)
        self._api = Api(self._server, transport)
        self._changed = threading.Condition()
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None
        self._attempts = 0  # to have a socket, in a row, of which nothing came
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
        """Watch no more; what was seen last stays."""
        self._end()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> Watch:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __iter__(self) -> Iterator[Progress]:
        """Each newer state, the newest at each turn, until the dataset is ready or failed. Raises what ended it."""
        self.start()
        seen: Progress | None = None
        while (seen := self._after(seen)) is not None:
            yield seen

    async def __aiter__(self) -> AsyncIterator[Progress]:
        self.start()
        seen: Progress | None = None
        while (seen := await asyncio.to_thread(self._after, seen)) is not None:
            yield seen

    def _after(self, seen: Progress | None) -> Progress | None:
        """The state that follows ``seen``; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_over.is_set() or self.progress not in (seen, None))
            if self.progress not in (seen, None):
                return self.progress
        if self.error is not None:
            raise self.error
        return None

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
                self._changed.notify_all()

    def _end(self, error: ProgressError | None = None) -> None:
        with self._changed:
            self.error = self.error or error
            self._is_over.set()
            self._changed.notify_all()

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
        failures = 0
        while not self._is_done():
            try:
                self._show(Progress.parse(self._api.progress(self.dataset_id)))
                failures = 0
            except Refused as refusal:
                if refusal.status in (401, 403, 404):
                    raise
                failures = self._failed(failures, refusal)
            except Unreachable as error:
                failures = self._failed(failures, error)
            if self._is_done() or (end is not None and time.monotonic() >= end):
                return
            self._is_over.wait(min(self.polling_interval * 2**failures, LONGEST_WAIT_SECONDS))

    def _failed(self, failures: int, error: ProgressError) -> int:
        if failures + 1 >= self.max_failures:
            raise error
        return failures + 1

    def _by_socket(self) -> None:
        while not self._is_done():
            try:
                self._listen()
            except Unreachable as error:
                self._attempts += 1
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
                raise Refused(404, "not_found", f"There is no dataset {self.dataset_id}.") from closed
            raise Unreachable(str(closed)) from closed
        except (WebSocketException, OSError, ValueError) as error:
            raise Unreachable(f"{type(error).__name__}: {error}") from error
        return None

    def _hear(self, message: dict[str, Any]) -> None:
        if message.get("type") == "progress_update":
            self._attempts = 0
            self._show(Progress.parse(message["payload"]))
        elif message.get("type") == "error":
            logger.debug("the server says: %s", message.get("message"))


def watch(dataset_id: str, mode: Mode = "websocket", polling_interval: float = 2.0, **options: Any) -> Watch:
    """Watch a dataset; see `Watch`.

    for progress in watch("cats"):
        print(progress.state, progress.current, progress.total)
    """
    return Watch(dataset_id, mode, polling_interval, **options)
