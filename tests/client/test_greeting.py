"""A person at a terminal is told once where the progress is shown, and is led there."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
from contextlib import suppress

from dataset_progress._greeting import page_of

from tests.repository import ROOT

from .conftest import ended

JOB = """
from dataset_progress import Run
for stage in ("first", "second"):
    with Run("cats", quiet={quiet}) as run:
        run.stage(stage).advance()
"""


def at_terminal(code: str, *arguments: str, **env: str) -> str:
    """Run a program whose standard error is a terminal. Return what that shows."""
    main, screen = pty.openpty()
    termios.tcsetwinsize(screen, (24, 80))
    passed = {name: value for name, value in os.environ.items() if name.startswith("DATASET_PROGRESS_")}
    with subprocess.Popen(
        [sys.executable, *([*arguments] or ["-c", code])], stderr=screen, stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(ROOT / "client/src"), **passed, **env},
    ) as process:  # fmt: skip
        os.close(screen)
        shown = b""
        with suppress(OSError):  # what a terminal says when its program is gone
            while chunk := os.read(main, 65536):
                shown += chunk
    os.close(main)
    assert process.returncode == 0, shown
    return shown.decode()


def test_the_address_is_printed_once_on_a_terminal(address: str) -> None:
    shown = at_terminal(JOB.format(quiet=False))
    assert f"→ {address}/datasets/cats/\r\n" in shown
    assert shown.count("→") == 1
    ended()


def test_whoever_wants_quiet_has_it(address: str) -> None:
    assert "→" not in at_terminal(JOB.format(quiet=True))
    assert "→" not in at_terminal(JOB.format(quiet=False), DATASET_PROGRESS_QUIET="1")
    off_terminal = subprocess.run(
        [sys.executable, "-c", JOB.format(quiet=False)], capture_output=True, check=True, timeout=120,
        env={"PYTHONPATH": str(ROOT / "client/src"), **os.environ},
    )  # fmt: skip
    assert "→".encode() not in off_terminal.stdout + off_terminal.stderr


def test_bars_stay_whole_below_the_address(address: str) -> None:
    code = 'from dataset_progress.tqdm import tqdm\nfor _ in tqdm(range(3), dataset="cats", desc="bar"): pass'
    shown = at_terminal(code)
    lines = [line.rstrip("\r").rpartition("\r")[2].strip() for line in shown.split("\n")]
    assert f"→ {address}/datasets/cats/" in lines
    assert lines[-2].startswith("bar: 100%")


def test_a_password_in_the_address_is_not_shown() -> None:
    assert page_of("https://ada:secret@site.example/progress/?x=1", "cats") == (
        "https://site.example/progress/datasets/cats/"
    )
    assert page_of("http://[::1]:8000") == "http://[::1]:8000/"


def test_list_and_open_and_version(address: str) -> None:
    cli = ["-m", "dataset_progress"]
    env = {"PYTHONPATH": str(ROOT / "client/src"), **os.environ, "BROWSER": "true"}

    def run(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, *cli, *arguments], capture_output=True, text=True, check=True, timeout=120, env=env
        ).stdout

    for dataset_id in ("ants", "bees"):
        run("report", dataset_id, "--state", "indexing", "--current", "1", "--total", "4")
    run("report", "ants", "--state", "ready")
    assert [line.split(":")[0] for line in run("list").splitlines()] == ["ants", "bees"]
    assert "bees: indexing 25% (1/4" in run("list", "ee", "--state", "indexing")
    assert run("list", "nothing-like-it") == ""
    assert run("open", "ants").strip() == f"{address}/datasets/ants/"
    assert run("open").strip() == f"{address}/"
    assert run("--version").startswith("dataset-progress ")
