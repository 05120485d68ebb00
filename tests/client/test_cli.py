"""The commands of the command line, each in a process."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from dataset_progress import Refused, Unreachable
from dataset_progress._cli.parser import new_parser

from apps.progress import services
from apps.progress.models import ItemFailure, Run
from tests.services import free_port

from .conftest import shown, until
from .test_watch import answering

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
    report = ["--state", "indexing", "--current", "45", "--total", "100", "--message", "Indexing samples... 45/100"]
    ended = command("report", "cats", *report)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.decode() == "cats: indexing 45% (45/100) Indexing samples... 45/100\n"
    assert (shown().state, shown().current, shown().total) == ("indexing", 45, 100)
    services.request_cancel(Run.objects.get().pk)
    assert b"asked to cancel" in command("report", "cats", "--current", "46").stdout


def test_report_of_what_failed_and_of_the_end(address: str) -> None:
    report = ["--failure", "a.jpg", "truncated", "--failure", "b.jpg", "empty", "--stage", "load", "--run", "1"]
    assert command("report", "cats", "--state", "indexing").returncode == 0
    assert command("report", "cats", *report).returncode == 0
    assert set(ItemFailure.objects.values_list("item", "reason")) == {("a.jpg", "truncated"), ("b.jpg", "empty")}
    assert (
        command("report", "cats", "--error", "\x1b[2Jno disk\n  at a.py").stdout
        == b"cats: error (0, load, 2 failed)  [2Jno disk\n"
    )


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
        _, errors = process.communicate(b"one\ntwo\n")
    assert (process.returncode, b"stopped reading" in errors, b"Traceback" in errors) == (1, True, False)
    assert shown().state == "error"


def test_simulate_and_watch(address: str) -> None:
    assert command("simulate", "cats", "--items", "20", "--seconds", "0.5", "--wait", "100").returncode == 0
    failing = ("--items", "20", "--seconds", "0.1", "--error", "no disk", "--wait", "100")
    assert command("simulate", "dogs", *failing).returncode == 1
    good, both = command("watch", "cats"), command("watch", "cats", "dogs", "--poll", "0.1", "--linger", "0")
    assert (good.returncode, both.returncode) == (0, 1)
    assert b"cats: ready (20/20, 3 failed)" in good.stdout
    assert b"dogs: error" in both.stdout
    assert b"no disk" in both.stdout


def test_what_goes_wrong_has_a_status_and_one_line(address: str) -> None:
    for arguments, status, words in (
        (["watch", "nothing", "--wait", "0"], 3, b"nothing: there is no such dataset"),
        (["report", "cats", "--url", f"http://127.0.0.1:{free_port()}"], 3, b"cannot be reached"),
        (["report", "cats", "--current", "1", "--token", "dp_none"], 3, b"unauthorized"),
        (["report", "cats", "--state", "done"], 2, b"invalid choice"),
        ([], 2, b"usage"),
    ):
        ended = command(*arguments)
        assert ended.returncode == status, ended.stderr
        assert words in ended.stderr
        assert b"Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["watch", "//"],
        ["watch", "cats", "--poll", "0"],
        ["report", "?", "--current", "1"],
        ["report", "cats", "--current", "-1"],
        ["simulate", "cats", "--items", "-1"],
        ["simulate", "cats", "--seconds", "nan"],
        ["pipe", "cats", "--total", "1.5"],
        ["pipe", "cats", "--wait", "inf"],
    ],
)
def test_bad_arguments(arguments: list[str]) -> None:
    ended = command(*arguments, DATASET_PROGRESS_URL="http://127.0.0.1:9")
    assert (ended.returncode, b"Traceback" in ended.stderr) == (2, False), ended.stderr


@pytest.mark.parametrize("answer", [b"{}", b"[]", b"<html>", b'{"progress": 5}'])
def test_a_server_that_is_another(answer: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: "
    with answering(head + b"%d\r\n\r\n" % len(answer) + answer) as (url, _):
        ended = command("report", "cats", "--current", "1", DATASET_PROGRESS_URL=url)
    assert (ended.returncode, ended.stderr.count(b"\n")) == (3, 1), ended.stderr


def test_where_the_server_is_down(address: str) -> None:
    down = f"http://127.0.0.1:{free_port()}"
    played = command("simulate", "cats", "--items", "3", "--seconds", "0", "--wait", "0.2", DATASET_PROGRESS_URL=down)
    assert (played.returncode, b"not acknowledged" in played.stderr) == (3, True)
    with subprocess.Popen(
        [sys.executable, "-m", "dataset_progress", "pipe", "cats", "--wait", "0.2"],
        env=environment(DATASET_PROGRESS_URL=down),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as pipe:  # fmt: skip
        assert pipe.stderr is not None
        impatience = threading.Timer(60, pipe.kill)
        impatience.start()
        errors = pipe.stderr.readline()
        impatience.cancel()
        output, more = pipe.communicate(b"a\nb\n", timeout=60)
    assert (pipe.returncode, output, (errors + more).count(b"not reported")) == (0, b"a\nb\n", 1)


@pytest.mark.parametrize(("target", "status"), [("/dev/full", 1), ("head", 141)])
def test_an_output_that_takes_nothing(address: str, target: str, status: int) -> None:
    assert command("report", "cats", "--current", "1", "--state", "indexing").returncode == 0
    if target == "head":
        out = subprocess.Popen(["true"], stdin=subprocess.PIPE)
        out.wait()
        assert out.stdin is not None
        where = out.stdin.fileno()
    else:
        where = os.open(target, os.O_WRONLY)
    ended = subprocess.run(
        [sys.executable, "-m", "dataset_progress", "report", "cats"], env=environment(), stdout=where,
        stderr=subprocess.PIPE, timeout=60, check=False,
    )  # fmt: skip
    assert (ended.returncode, b"Traceback" in ended.stderr) == (status, False), ended.stderr


def test_words_of_the_server_are_shown_as_they_are(address: str) -> None:
    text = "[/bold] [red]not markup[/red] \x1b]0;title\x07"
    assert command("report", "cats", "--state", "error", "--error", text).returncode == 0
    main, screen = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "dataset_progress", "watch", "cats"], env=environment(TERM="xterm", COLUMNS="200"),
        stdout=screen, stderr=screen,
    ) as process:  # fmt: skip
        os.close(screen)
        shown = b""
        with suppress(OSError):  # what a terminal says when its program is gone
            while chunk := os.read(main, 65536):
                shown += chunk
    os.close(main)
    assert process.returncode == 1
    assert b"[/bold] [red]not markup[/red]" in shown
    assert b"Traceback" not in shown
    assert b"\x1b]0;" not in shown


def test_without_an_address_it_says_what_to_set() -> None:
    ended = command("watch", "cats", DATASET_PROGRESS_URL="")
    assert ended.returncode == 2
    assert b"DATASET_PROGRESS_URL" in ended.stderr


@pytest.mark.parametrize("name", ["watch", "list", "open", "report", "pipe", "simulate"])
def test_help_has_an_example_and_the_exit_status(name: str) -> None:
    text = command(name, "--help").stdout.decode()
    assert "example: " in text
    assert "exit status" in text
    assert "DATASET_PROGRESS_TOKEN" in text


COMMANDS = {"watch", "list", "open", "batch", "report", "pipe", "pause", "resume", "cancel", "end", "retry", "simulate"}


def test_every_argument_has_a_word_of_help() -> None:
    commands = next(action.choices for action in new_parser()._actions if isinstance(action.choices, dict))
    without = [action.dest for each in commands.values() for action in each._actions if not action.help]
    assert (set(commands), without) == (COMMANDS, [])


def test_an_error_has_nothing_that_a_terminal_obeys() -> None:
    for error in (Refused(400, "invalid", "no\x1b[2J\nway"), Unreachable("no\x1b[2J\nway")):
        assert str(error) == "no [2J way"
