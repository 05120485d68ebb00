"""`dataset-progress watch`: the table in a terminal, the lines elsewhere, and when it ends."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from dataset_progress import Progress, Watch, watch
from dataset_progress._cli.table import show_table
from rich.console import Console

from apps.progress.transitions import State
from tests.services import wait_until

from .test_cli import command, environment
from .test_watch import report

STAGE = {
    "name": "embed", "label": "", "counts_as": "embedding", "current": 123_456, "total": 500_000, "planned": 500_000,
    "unit": "samples",
}  # fmt: skip
DETAILS: dict[str, Any] = {
    "run": 3, "stage": STAGE, "rate": 1234.5, "eta_seconds": {"low": 170, "high": 310}, "health": "live",
    "failed": 1203, "paused": False, "cancelled": False,
}  # fmt: skip


def shown_at(width: int, **changes: Any) -> str:
    """Return what is left in a terminal of this width, once a dataset was watched. ``changes``: to `DETAILS`."""
    details = {**DETAILS, **changes}
    watched = Watch("photos-2024", "manual")
    watched.progress = Progress(
        "photos-2024", "embedding", 123_456, 500_000, "[b]batch[/b] 7", percent=24.69, details=details
    )
    watched.stop()
    screen = io.StringIO()
    show_table([watched], Console(file=screen, width=width, height=24))
    return screen.getvalue()


def words_of(screen: str) -> str:
    """Return the words of each column, which may be wrapped, one column after the other."""
    lines = screen.splitlines()
    heads = re.finditer(r"Dataset|Progress|Done|Rate|Time left|Failed", lines[0])
    starts = [match.start() for match in heads]
    cells = [" ".join(line[a:b] for line in lines) for a, b in zip(starts, [*starts[1:], None], strict=True)]
    return " | ".join(" ".join(cell.split()) for cell in cells)


@pytest.mark.parametrize("width", [60, 100])
def test_nothing_is_cut_off_in_a_narrow_terminal(width: int) -> None:
    screen = shown_at(width)
    assert max(map(len, screen.splitlines())) <= width
    told = words_of(screen)
    for words in (
        "Dataset photos-2024 Generating embeddings", "Progress 25%",
        "Done 123,456 of 500,000 samples 1,234 samples/s 3 to 5 minutes left 1,203 failed",
    ):  # fmt: skip
        assert words in told, screen
    assert "[b]batch[/b] 7" in screen


@pytest.mark.parametrize("width", [120, 200])
def test_each_number_has_a_column_in_a_wide_terminal(width: int) -> None:
    screen = shown_at(width)
    assert max(map(len, screen.splitlines())) <= width
    told = words_of(screen)
    for words in (
        "Progress 25%",
        "Done 123,456 of 500,000 samples",
        "Rate 1,234 samples/s",
        "Time left 3 to 5 minutes",
    ):
        assert words in told, screen
    assert re.search(r"1,203$", screen, re.MULTILINE)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"health": "lost"}, "No contact"),
        ({"paused": True}, "Paused"),
        ({"stage": {**STAGE, "label": "Encode"}}, "Encode"),
    ],
)
def test_what_a_dataset_is_at(changes: dict[str, Any], words: str) -> None:
    assert words in shown_at(120, **changes)


@pytest.mark.parametrize("width", [60, 100, 200])
def test_the_whole_run_stands_below_the_bar_of_its_stage(width: int) -> None:
    told = words_of(shown_at(width, stages=[STAGE, STAGE]))
    assert re.search("Progress 25% \\S+ whole run 25% ", told), told


def test_a_table_ends_with_what_was_not_found(address: str) -> None:
    with terminal("watch", "cats", "--wait", "0", columns=100) as (process, _, received):
        assert process.wait(60) == 3
    left = b"".join(received).decode().rpartition("\x1b[?1049l")[2]
    assert "Not found" in left
    assert "cats: there is no such dataset, or the token may not see it" in left


@contextmanager
def terminal(*arguments: str, columns: int) -> Iterator[tuple[subprocess.Popen[bytes], int, list[bytes]]]:
    """Start a command in a terminal. Yield its process, the terminal, and what it has been sent so far."""
    main, screen = pty.openpty()
    resize(main, columns)
    received: list[bytes] = []
    with subprocess.Popen(
        [sys.executable, "-m", "dataset_progress", *arguments], env=environment(TERM="xterm"),
        stdin=screen, stdout=screen, stderr=screen, start_new_session=True,
    ) as process:  # fmt: skip
        os.close(screen)

        def receive() -> None:
            with suppress(OSError):  # what a terminal says when its program is gone
                while chunk := os.read(main, 65536):
                    received.append(chunk)

        reader = threading.Thread(target=receive, daemon=True)
        reader.start()
        try:
            yield process, main, received
        finally:
            process.terminate()
            process.wait(60)
            reader.join(60)
            os.close(main)


def resize(main: int, columns: int) -> None:
    fcntl.ioctl(main, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))


def last_frame(received: list[bytes]) -> str:
    """Return what the screen shows: what was sent since it was drawn from its top."""
    text = re.split(r"\x1b\[H", b"".join(received).decode(errors="replace"))[-1]
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]|\r", "", text)


def test_the_table_follows_the_size_of_the_terminal(address: str) -> None:
    report(
        current=1, total=1000, message="a message that is longer than any narrow terminal is wide, and goes on and on"
    )
    with terminal("watch", "cats", columns=120) as (process, main, received):
        wait_until(lambda: "1 of 1,000 items" in last_frame(received), seconds=60, what="it was not shown")
        resize(main, 60)
        os.killpg(process.pid, signal.SIGWINCH)  # as the kernel does for a terminal that controls a session
        report(current=450)
        wait_until(lambda: "450 of 1,000" in words_of(last_frame(received)), seconds=60, what="it was not shown")
        assert max(map(len, last_frame(received).splitlines())) <= 60
        report(state=State.READY)
        assert process.wait(60) == 0
    left = b"".join(received).decode().rpartition("\x1b[?1049l")[2]  # what stays once the other screen is left
    assert "Ready" in left
    assert "450 of" in left


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_signal_leaves_the_terminal_as_it_was(address: str, number: signal.Signals, status: int) -> None:
    report(current=7, total=1000)
    with terminal("watch", "cats", columns=100) as (process, _, received):
        wait_until(lambda: "7 of 1,000 items" in last_frame(received), seconds=60, what="it was not shown")
        process.send_signal(number)
        assert process.wait(60) == status
    assert b"Traceback" not in b"".join(received)
    assert "7 of 1,000 items" in b"".join(received).decode().rpartition("\x1b[?1049l")[2]


@pytest.mark.parametrize("poll", [(), ("--poll", "0.1")])
def test_it_waits_for_a_dataset_that_is_not_there_yet(address: str, poll: tuple[str, ...]) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "dataset_progress", "watch", "cats", "--wait", "600", "--linger", "0", *poll],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        assert "cats: there is no such dataset, or the token may not see it (trying again)" in process.stderr.readline()
        report(current=9, total=9)
        report(state=State.READY)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert "cats: ready (9/9)" in output


def test_it_says_what_is_missing(address: str) -> None:
    report(state=State.READY)
    ended = command("watch", "cats", "dogs", "--wait", "0", "--linger", "0")
    assert ended.returncode == 3
    assert ended.stderr == b"dataset-progress: dogs: there is no such dataset, or the token may not see it\n"
    assert b"cats: ready" in ended.stdout


@pytest.mark.parametrize("mode", ["websocket", "polling"])
def test_it_goes_on_with_the_next_run(address: str, mode: Any) -> None:
    report(current=1, total=1)
    report(state=State.READY)
    runs = []
    for progress in watch("cats", mode, 0.05, linger=60):
        runs.append((progress.details["run"], progress.state))
        if runs[-1] == (1, "ready"):
            report(current=1, total=2)
        elif runs[-1] == (2, "indexing"):
            report(state=State.READY)
        elif runs[-1] == (2, "ready"):
            break
    assert runs == [(1, "ready"), (2, "indexing"), (2, "ready")]


def test_it_ends_when_no_other_run_follows(address: str) -> None:
    report(current=1, total=1)
    report(state=State.READY)
    assert [progress.state for progress in watch("cats", linger=0.3)] == ["ready"]


def test_lines_have_the_numbers_of_the_page(address: str) -> None:
    report(stage="Reading", current=45, total=100, failed=2)
    with subprocess.Popen(
        [sys.executable, "-m", "dataset_progress", "watch", "cats"],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "cats: indexing 45% (45/100, Reading, 2 failed)\n"
        process.terminate()
        assert process.wait(60) == 143
