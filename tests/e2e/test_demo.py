"""`make demo`: what it starts, what it refuses, and that it leaves nothing running."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.images import make_images
from tests.repository import ROOT
from tests.services import free_port, wait_until

COMMAND = [sys.executable, "-m", "progress_site.demo"]


def environment(data_dir: Path, **values: str) -> dict[str, str]:
    """A fresh machine's: no key, no database, no name set."""
    kept = {name: value for name, value in os.environ.items() if name not in ("SECRET_KEY", "DATABASE_URL")}
    return {**kept, "DATA_DIR": str(data_dir), **values}


@contextmanager
def demo(log: Path, data_dir: Path, **values: str) -> Iterator[subprocess.Popen[bytes]]:
    """The running demo, once it has printed its address."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            COMMAND, cwd=ROOT, env=environment(data_dir, **values), stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_until(lambda: "Stop it with" in log.read_text() or process.poll() is not None, seconds=180, what="no demo")
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        process.terminate()
        process.wait(30)


def progress(port: int, dataset_id: str) -> dict[str, Any]:
    """The progress of a dataset; its state and run are None before it is created."""
    answer = httpx.get(f"http://127.0.0.1:{port}/api/datasets/{dataset_id}/progress", timeout=60)
    shown: dict[str, Any] = answer.json()
    return {"state": None, "run": None, **shown}


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_demo_processes_a_folder_keeps_it_and_leaves_no_process(tmp_path: Path) -> None:
    make_images(tmp_path / "my photos", 5)
    port = free_port()
    values = {"PORT": str(port), "IMAGES": str(tmp_path / "my photos")}
    for start, stop in ((1, signal.SIGTERM), (2, signal.SIGINT), (3, signal.SIGHUP)):
        log = tmp_path / f"log-{start}"
        with demo(log, tmp_path / "data", **values) as process:
            printed = log.read_text()
            assert f"Dataset Progress is at http://127.0.0.1:{port}/\n" in printed
            assert ("with the password" in printed) == (start == 1)
            wait_until(
                lambda: progress(port, "my-photos").items() >= {"state": "ready", "run": start}.items(),  # noqa: B023 -- called at once
                seconds=60,
                what="the dataset was not ready",
            )
            assert progress(port, "my-photos")["total"] == 5
            family = psutil.Process(process.pid).children(recursive=True)
            assert len(family) >= 2
            process.send_signal(stop)
            assert process.wait(30) == 0
            wait_until(lambda: not any(lives(child) for child in family), seconds=30, what="a process is left")  # noqa: B023 -- called at once
    assert (tmp_path / "data" / "secret_key").stat().st_mode & 0o077 == 0


# A signal that arrives at the worst moment: when `Popen` has just taken the lock of a child's status.
STOPPED_IN_THE_MIDDLE = """
import os, signal
from progress_site.demo.processes import ChildProcesses

class Lock:
    def __init__(self, lock):
        self.lock = lock
    def acquire(self, *arguments):
        taken = self.lock.acquire(*arguments)
        os.kill(os.getpid(), signal.SIGTERM)
        return taken
    def release(self):
        self.lock.release()
    def __enter__(self):
        self.lock.acquire()
    def __exit__(self, *error):
        self.lock.release()

with ChildProcesses() as children:
    children.start("child", "-c", "import time; time.sleep(600)")
    [child] = children._processes()
    child._waitpid_lock = Lock(child._waitpid_lock)
    print(child.pid, flush=True)
    children.wait()
"""


def test_a_signal_in_the_middle_of_a_look_at_a_child_ends_it_too(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STOPPED_IN_THE_MIDDLE],
        cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert not psutil.pid_exists(int(done.stdout))


RESTARTED = """
from progress_site.demo.processes import ChildProcesses

with ChildProcesses() as children:
    children.start("child", "-c", {child!r})
    children.wait()
"""


def test_a_child_that_ends_is_started_again(tmp_path: Path) -> None:
    count = tmp_path / "count"
    # Killed, as a process is that the system runs out of memory for; then without its database for a while.
    child = f"""
import os, signal, sys
with open({str(count)!r}, "a+") as file:
    file.write("x")
    file.seek(0)
    starts = len(file.read())
if starts == 1:
    os.kill(os.getpid(), signal.SIGKILL)
if starts == 2:
    sys.exit(2)
os.kill(os.getppid(), signal.SIGTERM)
signal.pause()
"""
    done = subprocess.run(
        [sys.executable, "-c", RESTARTED.format(child=child)],
        cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert count.read_text() == "xxx"
    assert done.stderr.splitlines() == [
        "The child process has ended (exit status -9). It is started again in 1 s.",
        "The child process has ended (exit status 2). It is started again in 2 s.",
    ]


def test_a_child_that_cannot_begin_ends_the_demo(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RESTARTED.format(child="import sys; sys.exit(2)")],
        cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (2, "")


def refusal(tmp_path: Path, **values: str) -> str:
    """What is said when the demo is not started; one line, with the exit status 2, and nothing before it."""
    env = environment(tmp_path / "data") | values
    done = subprocess.run(COMMAND, cwd=ROOT, env=env, capture_output=True, text=True)
    assert "password" not in done.stdout
    assert done.returncode == 2, done.stderr
    [line] = done.stderr.strip().splitlines()
    return line


def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"Port {port}" in refusal(tmp_path, PORT=str(port))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"PORT": "eighty"}, "PORT=eighty"),
        ({"PORT": "70000"}, "PORT=70000"),
        ({"HOST": "no.such.host.invalid"}, "HOST=no.such.host.invalid"),
        ({"IMAGES": "/no/such/folder"}, "IMAGES=/no/such/folder"),
        ({"HOST": "x" * 64 + ".example"}, "HOST=xxx"),
        ({"IMAGES": __file__}, "is not a folder"),
        ({"IMAGES": "~no-such-user/images"}, "IMAGES=~no-such-user/images is not a folder"),
        ({"IMAGES": "/" + "x" * 5000}, "is not a folder"),
        ({"DATA_DIR": "~no-such-user/var"}, "DATA_DIR=~no-such-user/var is not a folder"),
        ({"DATA_DIR": "/dev/null/var"}, "/dev/null/var cannot be written to"),
        ({"DATASET": "../up"}, "DATASET=../up"),
        ({"LEASE_SECONDS": "soon"}, "LEASE_SECONDS"),
        ({"LEASE_SECONDS": "0"}, "Must be greater than 0."),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL"),
        ({"DATABASE_URL": "garbage"}, "DATABASE_URL"),
        ({"DEMO": "fancy"}, "DEMO=fancy"),
        ({"EMBEDDER": "no.such.Thing"}, "no.such"),
    ],
)
def test_a_mistake_is_refused_in_one_line(tmp_path: Path, values: dict[str, str], told: str) -> None:
    values = {"PORT": str(free_port()), **values}
    if "DATASET" in values:
        make_images(tmp_path / "images", 1)
        values["IMAGES"] = str(tmp_path / "images")
    assert told in refusal(tmp_path, **values)


def test_a_dataset_of_another_folder_is_refused_and_keeps_its_samples(tmp_path: Path) -> None:
    make_images(tmp_path / "mine", 2)
    make_images(tmp_path / "other, with a comma", 1)
    port = free_port()
    values = {"PORT": str(port), "DATASET": "photos"}
    with demo(tmp_path / "log", tmp_path / "data", IMAGES=str(tmp_path / "mine"), **values):
        wait_until(lambda: progress(port, "photos")["state"] == "ready", seconds=60, what="it was not ready")
    for other in ({}, {"IMAGES": str(tmp_path / "other, with a comma")}):
        assert f"photos reads from {tmp_path / 'mine'}, not from" in refusal(tmp_path, **values, **other)
    values["DATASET"] = "another"
    with demo(tmp_path / "log", tmp_path / "data", IMAGES=str(tmp_path / "other, with a comma"), **values):
        wait_until(lambda: progress(port, "another")["state"] == "ready", seconds=60, what="it was not ready")
        assert progress(port, "photos")["total"] == 2


def test_a_key_that_was_not_written_to_its_end_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "secret_key").touch()
    make_images(tmp_path / "images", 1)
    with demo(tmp_path / "log", tmp_path / "data", PORT=str(free_port()), IMAGES=str(tmp_path / "images")):
        assert len((tmp_path / "data" / "secret_key").read_text().strip()) >= 48


@pytest.mark.parametrize("inside", ["", "inside"])
def test_a_folder_that_cannot_be_read_is_refused(tmp_path: Path, inside: str) -> None:
    (tmp_path / "images" / "inside").mkdir(parents=True)
    (tmp_path / "images").chmod(0)
    command = COMMAND
    if os.geteuid() == 0:  # to whom every folder can be read
        command = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", *COMMAND]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(tmp_path / "data", PORT=str(free_port()), IMAGES=str(tmp_path / "images" / inside)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert "cannot be read" in done.stderr
