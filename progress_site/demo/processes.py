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
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[2]
SECONDS_TO_START = 60
SECONDS_TO_STOP = 10
LONGEST_BACKOFF = 30.0
MISCONFIGURED = 2
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # SIGHUP: the terminal was closed


@dataclass
class Child:
    """A process, how it is started, and when it is started again if it ended."""

    command: list[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes]
    started_at: float
    backoff: float = 0.0
    start_at: float | None = None  # None: it runs


class ChildProcesses:
    """Context manager: processes that are started in the block end with it. One of `SIGNALS` ends the block.

    A process that ends by itself is started again, ever less often.

    The standard input of the processes is empty, and ends with `end_input`: one may load meanwhile, and wait for it.

    Each process has a session of its own. Ctrl-C in a terminal therefore reaches this process alone, which then stops
    the others.
    """

    def __init__(self) -> None:
        self._children: dict[str, Child] = {}
        self._is_deferring = False
        self._was_stopped = False
        self._input, self._end_of_input = os.pipe()

    def __enter__(self) -> ChildProcesses:
        for signum in SIGNALS:
            signal.signal(signum, self._stop)
        return self

    def __exit__(self, *error: object) -> None:
        for signum in SIGNALS:
            signal.signal(signum, signal.SIG_IGN)
        for child in self._processes():
            child.terminate()
        deadline = time.monotonic() + SECONDS_TO_STOP
        for child in self._processes():
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()

    def start(self, name: str, *arguments: str, **environment: str) -> None:
        """Start Python with ``arguments`` in the folder of the project, with these variables beside ours."""
        command = [sys.executable, *arguments]
        with self._signals_deferred():
            self._children[name] = Child(command, environment, self._start(command, environment), time.monotonic())

    def end_input(self) -> None:
        os.close(self._end_of_input)

    def wait_for_server(self, host: str, port: int) -> None:
        """Return once a server accepts connections. Raises `SystemExit` if it takes too long."""
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
        """Wait for a signal, and start processes again that end by themselves."""
        while True:
            self._check()
            time.sleep(0.5)

    def _check(self) -> None:
        """Start processes again whose time has come. Raises `SystemExit` if one says at first that it cannot begin."""
        now = time.monotonic()
        for name, child in self._children.items():
            if child.start_at is None:
                with self._signals_deferred():
                    status = child.process.poll()
                if status == MISCONFIGURED and not child.backoff:  # later, its database may be gone for a while
                    raise SystemExit(MISCONFIGURED)  # it has said why
                if status is not None:
                    lasted = now - child.started_at > LONGEST_BACKOFF
                    child.backoff = 1.0 if lasted else min(2 * child.backoff or 1.0, LONGEST_BACKOFF)
                    child.start_at = now + child.backoff
                    print(
                        f"The {name} process has ended (exit status {status}). It is started again in"
                        f" {child.backoff:g} s.",
                        file=sys.stderr,
                        flush=True,
                    )
            elif now >= child.start_at:
                with self._signals_deferred():
                    child.process = self._start(child.command, child.environment)
                    child.started_at, child.start_at = now, None

    def _start(self, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 -- our own
            command, cwd=ROOT, env=os.environ | environment, stdin=self._input, start_new_session=True
        )

    def _processes(self) -> list[subprocess.Popen[bytes]]:
        return [child.process for child in self._children.values()]

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
