"""The commands, as programs of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from apps.progress import services
from apps.progress.models import Run
from tests.services import free_port

from .conftest import shown, until

SOURCES = str(Path(__file__).resolve().parent.parent.parent / "client/src")


def environment(**more: str) -> dict[str, str]:
    names = ("DATASET_PROGRESS_URL", "DATASET_PROGRESS_TOKEN")
    return {"PYTHONPATH": SOURCES, **{name: os.environ[name] for name in names if name in os.environ}, **more}


def command(*arguments: str, given: bytes = b"", **more: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "dataset_progress", *arguments], env=environment(**more), input=given,
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip


def test_report(address: str) -> None:
    said = ["--state", "indexing", "--current", "45", "--total", "100", "--message", "Indexing samples... 45/100"]
    ended = command("report", "cats", *said)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.decode() == "cats: indexing 45% (45/100) Indexing samples... 45/100\n"
    assert (shown().state, shown().current, shown().total) == ("indexing", 45, 100)
    services.request_cancel(Run.objects.get().pk)
    assert b"asked to cancel" in command("report", "cats", "--current", "46").stdout


@pytest.mark.parametrize(
    ("data", "flags", "done"), [(b"a\nb\nc", [], 3), (b"a\nb\n", [], 2), (b"x" * 100_000, ["--bytes"], 100_000)]
)
def test_pipe_passes_on_what_comes_and_counts_it(address: str, data: bytes, flags: list[str], done: int) -> None:
    ended = command("pipe", "cats", "--total", str(done), "--wait", "100", *flags, given=data)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == data
    assert (shown().state, shown().current, shown().total) == ("ready", done, done)


def test_pipe_passes_on_at_once(address: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "dataset_progress", "pipe", "cats"], env=environment(), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"first\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"first\n"
        until(lambda progress: progress.current == 1)
        process.stdin.close()
        assert process.wait(30) == 0


def test_pipe_into_something_that_stops_reading(address: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "dataset_progress", "pipe", "cats", "--wait", "100"], env=environment(),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.close()
        _, said = process.communicate(b"one\ntwo\n")
    assert (process.returncode, b"stopped reading" in said, b"Traceback" in said) == (1, True, False)
    assert shown().state == "error"


def test_simulate_and_watch(address: str) -> None:
    assert command("simulate", "cats", "--items", "20", "--seconds", "0.5", "--wait", "100").returncode == 0
    failing = ("--items", "20", "--seconds", "0.1", "--error", "no disk", "--wait", "100")
    assert command("simulate", "dogs", *failing).returncode == 1
    good, both = command("watch", "cats"), command("watch", "cats", "dogs", "--poll", "0.1")
    assert (good.returncode, both.returncode) == (0, 1)
    assert b"cats: ready 100%" in good.stdout
    assert b"dogs: error" in both.stdout
    assert b"no disk" in both.stdout


def test_what_goes_wrong_has_a_status_and_one_line(address: str) -> None:
    for arguments, status, words in (
        (["watch", "nothing"], 3, b"says no"),
        (["report", "cats", "--url", f"http://127.0.0.1:{free_port()}"], 3, b"cannot be reached"),
        (["report", "cats", "--current", "1", "--token", "dp_none"], 3, b"unauthorized"),
        (["report", "cats", "--state", "done"], 2, b"invalid choice"),
        ([], 2, b"usage"),
    ):
        ended = command(*arguments)
        assert ended.returncode == status, ended.stderr
        assert words in ended.stderr
        assert b"Traceback" not in ended.stderr


def test_without_an_address_it_says_what_to_set() -> None:
    ended = command("watch", "cats", DATASET_PROGRESS_URL="")
    assert ended.returncode == 2
    assert b"DATASET_PROGRESS_URL" in ended.stderr


@pytest.mark.parametrize("name", ["watch", "report", "pipe", "simulate"])
def test_help_has_an_example_and_the_exit_status(name: str) -> None:
    text = command(name, "--help").stdout.decode()
    assert "example: " in text
    assert "exit status" in text
    assert "DATASET_PROGRESS_TOKEN" in text
