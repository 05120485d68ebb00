"""Follow a dataset on the server: over a WebSocket, or by polling where there is none."""

from __future__ import annotations

import json
import math
import random
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

from ._api import Api, logger
from ._errors import ProgressError, Refused, Unreachable
from ._inherit import delay_forks
from ._progress import Progress

# After so many failed attempts to open a socket in a row, poll; then try the socket again this often.
MAX_SOCKET_ATTEMPTS = 5
SOCKET_RETRY_SECONDS = 30.0
MAX_BACKOFF_SECONDS = 30.0
# How often a silent socket is left to see whether to stop.
RECEIVE_SECONDS = 0.25
# How often to ask for a dataset that does not exist yet.
AWAIT_SECONDS = 1.0


class Watcher:
    """Calls ``on_progress`` with each state of a dataset until it is finished or ``stopped`` is set. Of a connection,
    none is older than the one before.

    ``wait``: for how many seconds a dataset is awaited that does not exist. ``linger``: for how many seconds another
    run is awaited once the dataset is finished.

    ``on_trouble`` is called with each failure to reach the server, and with None once the server answers. ``mode``:
    ``websocket``, which becomes ``polling`` if the package ``websockets`` is not installed.
    """

    def __init__(
        self,
        dataset_id: str,
        api: Api,
        *,
        mode: Literal["websocket", "polling"],
        polling_interval: float,
        max_failures: int,
        wait: float,
        linger: float,
        stopped: threading.Event,
        on_progress: Callable[[Progress], None],
        on_trouble: Callable[[ProgressError | None], None],
    ) -> None:
        self.mode = mode
        self._dataset_id = dataset_id
        self._api = api
        self._polling_interval = polling_interval
        self._max_failures = max_failures
        self._stopped = stopped
        self._linger = linger
        self._wait = wait
        self._awaits_until = 0.0
        self._ends_at = math.inf
        self._on_progress = on_progress
        self._on_trouble = on_trouble
        self._newest: Progress | None = None
        self._socket_attempts = 0  # failed in a row
        self._failed_requests = 0  # in a row

    def run(self) -> None:
        """Follow the dataset. Raises `Refused`, or the last error after ``max_failures`` failed requests in a row."""
        self._awaits_until = time.monotonic() + self._wait
        try:
            if self.mode == "websocket":
                self._follow_socket()
            else:
                self._poll(None)
        finally:
            self._api.close()

    def _is_done(self) -> bool:
        return self._stopped.is_set() or time.monotonic() >= self._ends_at

    def _is_awaited(self, error: ProgressError) -> bool:
        """Return whether ``error`` says that there is no such dataset, and there may be one yet."""
        is_missing = isinstance(error, Refused) and error.status == 404
        return is_missing and self._newest is None and time.monotonic() < self._awaits_until

    def _receive(self, answer: Any, *, is_first: bool = True) -> None:
        """Take a state in. The first one of a connection was read after all others, so it is true."""
        progress = Progress.parse(answer)
        self._failed_requests = 0
        self._on_trouble(None)
        if self._newest is None or is_first or not progress.is_older_than(self._newest):
            if progress != self._newest:
                self._ends_at = time.monotonic() + self._linger if progress.is_finished else math.inf
            self._newest = progress
            self._on_progress(progress)

    # --- Polling -----------------------------------------------------------------------------------------------------

    def _poll(self, seconds: float | None) -> None:
        """Poll until done, or for ``seconds``."""
        end = None if seconds is None else time.monotonic() + seconds
        while not self._is_done():
            retry_after = 0.0
            try:
                self._receive(self._api.progress(self._dataset_id))
            except ProgressError as error:
                if self._is_awaited(error):
                    self._await(error)
                    continue
                if isinstance(error, Refused):
                    if error.status in (401, 403, 404):
                        raise
                    retry_after = error.retry_after
                if isinstance(error, Refused) and error.code == "unavailable":
                    self._on_trouble(error)  # the server is there, and says that it is busy
                else:
                    self._on_failed_request(error)
            if self._is_done() or (end is not None and time.monotonic() >= end):
                return
            backoff = min(self._polling_interval * 2 ** min(self._failed_requests, 10), MAX_BACKOFF_SECONDS)
            pause = max(self._polling_interval, backoff, retry_after)
            self._stopped.wait(min(pause, max(self._ends_at - time.monotonic(), 0)))

    def _await(self, error: ProgressError) -> None:
        self._on_trouble(error)
        self._stopped.wait(AWAIT_SECONDS)

    def _on_failed_request(self, error: ProgressError) -> None:
        self._on_trouble(error)
        self._failed_requests += 1
        if self._failed_requests >= self._max_failures:
            raise error

    # --- WebSocket ---------------------------------------------------------------------------------------------------

    def _follow_socket(self) -> None:
        while not self._is_done():
            try:
                self._listen()
            except Refused as refused:
                if not self._is_awaited(refused):
                    raise
                self._await(refused)
                continue
            except Unreachable as error:
                self._socket_attempts += 1
                self._on_trouble(error)
                logger.debug("the WebSocket of %s failed: %s", self._dataset_id, error)
            if self._is_done():
                return
            if self._socket_attempts >= MAX_SOCKET_ATTEMPTS:
                self._poll(SOCKET_RETRY_SECONDS)
                self._socket_attempts -= 1  # for one attempt before it polls again
            else:
                self._stopped.wait(random.uniform(0, 0.2 * 2**self._socket_attempts))  # noqa: S311 -- jitter

    def _listen(self) -> None:
        """Receive from a new socket until it closes. Raises `Refused`, and `Unreachable` if there is none."""
        try:
            with delay_forks():
                from websockets.exceptions import ConnectionClosed, WebSocketException
                from websockets.sync.client import connect
        except ImportError:
            self.mode = "polling"
            logger.info("polling, because websockets is missing: pip install 'dataset-progress[websocket]'")
            return self._poll(None)
        server = self._api.server
        address = f"ws{server.url.removeprefix('http')}/api/datasets/{self._dataset_id}/progress/ws"
        headers = {"Authorization": f"Bearer {server.token}"} if server.token else {}
        try:
            with delay_forks():
                socket = connect(address, additional_headers=headers, open_timeout=10, close_timeout=1)
            with socket:
                socket.send(json.dumps({"type": "subscribe", "dataset_id": self._dataset_id}))
                is_first = True
                while not self._is_done():
                    try:
                        message = json.loads(socket.recv(timeout=RECEIVE_SECONDS))
                        is_first &= not self._on_message(message, is_first=is_first)
                    except TimeoutError:  # noqa: PERF203 -- no more often than every `RECEIVE_SECONDS`
                        continue
        except ConnectionClosed as closed:
            if closed.rcvd is not None and closed.rcvd.code == 4404:
                self._api.progress(self._dataset_id)  # raises why: unknown, or not visible with this token
            raise Unreachable(str(closed)) from closed
        except (WebSocketException, OSError, ValueError) as error:
            raise Unreachable(f"{type(error).__name__}: {error}") from error
        return None

    def _on_message(self, message: Any, *, is_first: bool) -> bool:
        """Handle a message. Returns whether it had a state."""
        if not isinstance(message, dict):
            raise Unreachable("a message of the WebSocket is not a JSON object")
        if message.get("type") == "progress_update":
            self._receive(message.get("payload"), is_first=is_first)
            self._socket_attempts = 0
            return True
        if message.get("type") == "error":
            logger.debug("the server sent an error: %s", message.get("message"))
        return False
