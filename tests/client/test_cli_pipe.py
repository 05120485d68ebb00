"""`dataset-progress pipe` passes everything on, whatever is at its ends, and counts it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from dataset_progress._cli import copying

from .conftest import shown, until
from .test_cli import command, environment

LINES = b"".join(b"line %d\n" % number for number in range(400_000))


def copied(copy: Callable[[int, int], object], source: int, target: int, read: Callable[[], bytes]) -> bytes:
    """Copy on a thread, then close the target. Return what was read from its other end."""

    def work() -> None:
        copy(source, target)
        os.close(target)

    thread = threading.Thread(target=work)
    thread.start()
    received = read()
    thread.join(60)
    assert not thread.is_alive()
    return received


def read_all(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def source_of(kind: str, data: bytes, folder: Path) -> int:
    """Return a descriptor from which ``data`` can be read."""
    if kind == "file":
        (folder / "source").write_bytes(data)
        return os.open(folder / "source", os.O_RDONLY)
    if kind == "socket":
        ours, theirs = socket.socketpair()

        def send() -> None:
            with ours:
                ours.sendall(data)

        threading.Thread(target=send, daemon=True).start()
        return theirs.detach()
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, kind != "non-blocking pipe")

    def write() -> None:
        with os.fdopen(write_end, "wb") as file:
            file.write(data)
            file.flush()
            time.sleep(0.05 if kind == "non-blocking pipe" else 0)  # so that there is nothing to read, but no end
            file.write(b"end")

    threading.Thread(target=write, daemon=True).start()
    return read_end


@pytest.mark.parametrize("unit", ["lines", "bytes"])
@pytest.mark.parametrize("target", ["pipe", "non-blocking pipe", "file", "appended file", "socket"])
@pytest.mark.parametrize("source", ["pipe", "non-blocking pipe", "file", "socket"])
def test_everything_is_passed_on_and_counted(source: str, target: str, unit: str, tmp_path: Path) -> None:
    counts: list[int] = []
    copy = copying.copied_lines if unit == "lines" else copying.copied_bytes
    there = source_of(source, LINES, tmp_path)
    expected = LINES + (b"end" if "pipe" in source else b"")
    if "file" in target:
        flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if "append" in target else 0)
        here = os.open(tmp_path / "target", flags)
        copied(lambda a, b: counts.extend(copy(a, b)), there, here, lambda: b"")
        received = (tmp_path / "target").read_bytes()
    else:
        ours, here = [each.detach() for each in socket.socketpair()] if target == "socket" else os.pipe()
        os.set_blocking(here, target != "non-blocking pipe")
        received = copied(lambda a, b: counts.extend(copy(a, b)), there, here, lambda: read_all(ours))
    os.close(there)
    assert received == expected
    assert sum(counts) == (len(expected) if unit == "bytes" else len(expected.splitlines()))


def test_a_long_stream_is_counted_as_a_short_one(tmp_path: Path) -> None:
    times = copying.MIN_BYTES_FOR_NUMPY // len(LINES) + 2
    source = source_of("pipe", LINES * times, tmp_path)
    with Path(os.devnull).open("wb") as nowhere:
        assert sum(copying.copied_lines(source, nowhere.fileno())) == 400_000 * times + 1
    os.close(source)


def test_a_file_is_copied_to_a_file(address: str, tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(LINES)
    with (tmp_path / "rows").open("rb") as rows, (tmp_path / "copy").open("wb") as copy:
        ended = subprocess.run(
            [sys.executable, "-m", "dataset_progress", "pipe", "cats", "--bytes", "--wait", "100"], env=environment(),
            stdin=rows, stdout=copy, stderr=subprocess.PIPE, timeout=120, check=False,
        )  # fmt: skip
    assert (ended.returncode, (tmp_path / "copy").read_bytes() == LINES) == (0, True), ended.stderr
    assert (shown().state, shown().current) == ("ready", len(LINES))


def test_an_output_that_is_full(address: str) -> None:
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "dataset_progress", "pipe", "cats", "--wait", "100"], env=environment(),
            input=b"a\n", stdout=full, stderr=subprocess.PIPE, timeout=120, check=False,
        )  # fmt: skip
    assert (ended.returncode, b"Traceback" in ended.stderr) == (1, False), ended.stderr
    assert "No space left" in (shown().error or "")


@pytest.mark.parametrize(
    ("number", "status", "words"),
    [
        (signal.SIGTERM, 143, "ended by SIGTERM"),
        (signal.SIGHUP, 129, "ended by SIGHUP"),
        (signal.SIGINT, 130, "interrupted"),
    ],
)
def test_a_signal_has_the_last_word(address: str, number: signal.Signals, status: int, words: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "dataset_progress", "pipe", "cats", "--wait", "100"], env=environment(),
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(b"a\nb\n")
        process.stdin.flush()
        until(lambda progress: progress.current == 2)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (status, b"")
    assert (shown().state, shown().error, shown().current) == ("error", f"The program was {words} after 2 lines.", 2)


def test_a_simulation_that_is_ended(address: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "dataset_progress", "simulate", "cats", "--seconds", "600", "--wait", "100"],
        env=environment(),
    ) as process:  # fmt: skip
        until(lambda progress: progress.state == "indexing")
        process.terminate()
        assert process.wait(60) == 143
    assert (shown().state, shown().error) == ("error", "Terminated: The program was ended by SIGTERM")


def test_what_nohup_ignores_stays_ignored(address: str) -> None:
    with subprocess.Popen(
        ["sh", "-c", 'trap "" HUP; exec "$0" -m dataset_progress pipe cats --wait 100', sys.executable],
        env=environment(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(b"a\n")
        process.stdin.flush()
        until(lambda progress: progress.current == 1)
        process.send_signal(signal.SIGHUP)
        process.stdin.write(b"b\n")
        process.stdin.close()
        assert process.wait(60) == 0
    assert (shown().state, shown().current) == ("ready", 2)


def test_the_command_counts_what_it_has_passed_on(address: str) -> None:
    ended = command("pipe", "cats", "--wait", "100", given=LINES)
    assert (ended.returncode, ended.stdout == LINES, ended.stderr) == (0, True, b"cats: 400000 lines\n")
