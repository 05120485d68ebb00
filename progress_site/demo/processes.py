"""Start child processes, watch them, and stop them all at the end. Django is not needed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[2]
SECONDS_TO_START = 60
SECONDS_TO_STOP = 10
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # SIGHUP: the terminal was closed


class ChildProcesses:
    """Context manager: processes that are started in the block end with it. One of `SIGNALS` ends the block.

    Each process has a session of its own. Ctrl-C in a terminal therefore reaches this process alone, which then stops
    the others.
    """

    def __init__(self) -> None:
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._is_deferring = False
        self._was_stopped = False

    def __enter__(self) -> ChildProcesses:
        for signum in SIGNALS:
            signal.signal(signum, self._stop)
        return self

    def __exit__(self, *error: object) -> None:
        for signum in SIGNALS:
            signal.signal(signum, signal.SIG_IGN)
        for child in self._started.values():
            child.terminate()
        deadline = time.monotonic() + SECONDS_TO_STOP
        for child in self._started.values():
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()

    def start(self, name: str, *arguments: str) -> None:
        """Start Python with ``arguments`` in the folder of the project."""
        command = [sys.executable, *arguments]
        with self._signals_deferred():
            self._started[name] = subprocess.Popen(command, cwd=ROOT, start_new_session=True)  # noqa: S603 -- our own

    def wait_for_server(self, host: str, port: int) -> None:
        """Return once a server accepts connections. Raises `SystemExit` if a process ends or it takes too long."""
        deadline = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < deadline:
            self._check()
            try:
                socket.create_connection((host, port), timeout=1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise SystemExit(f"The server did not start within {SECONDS_TO_START} s.")

    def wait(self) -> None:
        """Wait for a signal. Raises `SystemExit` if a process ends by itself."""
        while True:
            self._check()
            time.sleep(0.5)

    def _check(self) -> None:
        for name, child in self._started.items():
            with self._signals_deferred():
                status = child.poll()
            if status is not None:
                raise SystemExit(f"The {name} process has ended (exit status {status}).")

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        self._was_stopped = True
        if not self._is_deferring:
            raise SystemExit(0)

    @contextmanager
    def _signals_deferred(self) -> Iterator[None]:
        """Handle a signal after the block. Inside `Popen` it could leave a child unknown, or its status lock held."""
        self._is_deferring = True
        try:
            yield
        finally:
            self._is_deferring = False
        if self._was_stopped:
            raise SystemExit(0)
