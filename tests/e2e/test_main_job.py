"""The main job: a folder is queued, watched while it is indexed and embedded, and browsed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, WebSocket, expect

from apps.progress.models import Run
from tests.images import make_images
from tests.processes import environment, worker
from tests.repository import ROOT
from tests.services import wait_until

from .conftest import RECORD, SECONDS, UNTIL_SHOWN

COUNT = 4000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Many files to read, few images to make: enough work for several polls of the header."""
    folder = tmp_path / "images"
    originals = make_images(tmp_path / "originals", 40, size=(400, 300))
    folder.mkdir()
    for number in range(COUNT):
        os.link(originals[number % len(originals)], folder / f"{number:05}.jpg")
    (folder / "broken.jpg").write_text("not an image")
    return folder


def queue(folder: Path) -> None:
    command = [sys.executable, "manage.py", "process", str(folder), "--dataset", "cats"]
    subprocess.run(command, cwd=ROOT, env=environment(), check=True, capture_output=True)


def test_folder_is_watched_until_it_is_ready(open_page: Callable[..., Page], folder: Path, tmp_path: Path) -> None:
    queue(folder)
    page = open_page("/")
    page.context.add_init_script(RECORD)
    frames: list[str | bytes] = []
    polls: list[tuple[str, int]] = []

    def note_frames(socket: WebSocket) -> None:
        socket.on("framereceived", lambda payload: frames.append(payload))

    def note_poll(request: Request) -> None:
        if "/progress/header/" in request.url:
            answer = request.response()
            polls.append((request.url, answer.status if answer else 0))
        assert "/progress/bar/" not in request.url, "the bar is pushed, not polled"

    page.on("websocket", note_frames)
    page.on("requestfinished", note_poll)
    page.get_by_role("link", name="cats").click()
    bar = page.locator("main .dataset-progress").first
    header = page.locator("#progress-header")
    expect(bar).to_have_attribute("data-state", "pending")
    expect(header).to_have_attribute("hx-trigger", "every 3s")

    with worker(tmp_path / "worker.log", {"PIPELINE_PROCESSES": "1"}) as process:
        page.evaluate(UNTIL_SHOWN, "Indexing")
        # However fast the machine, the worker waits for the header's next poll.
        process.send_signal(signal.SIGSTOP)
        try:
            expect(bar).to_have_attribute("data-state", "indexing")
            expect(bar).to_contain_text("Indexing")
            expect(header.locator(".dataset-progress-compact")).to_have_attribute("data-state", "indexing")
        finally:
            process.send_signal(signal.SIGCONT)
        expect(bar).to_have_attribute("data-state", "ready", timeout=120 * SECONDS)

    expect(page.locator("main")).to_contain_text("Ready")
    expect(header).not_to_have_attribute("hx-trigger", re.compile(".*"))
    expect(header.locator(".dataset-progress-compact")).to_have_count(0)

    shown = page.evaluate("window.shown")
    versions = [state["version"] for state in shown]
    assert versions == sorted(versions)
    states = list(dict.fromkeys(state["state"] for state in shown))
    assert states[-3:] == ["indexing", "embedding", "ready"]
    indexed = [state["now"] for state in shown if state["state"] == "indexing"]
    assert len(set(indexed)) > 2, indexed  # it grew in front of the watcher; in how many steps is the machine's matter
    assert indexed == sorted(indexed)
    assert len(frames) > 5
    # What a push has shown is not sent again.
    assert {status for _, status in polls} <= {200, 204}

    # The header is still: two more of its intervals pass, told by the browser's own clock, without a request.
    before = len(polls)
    page.evaluate("new Promise(resolve => setTimeout(resolve, 7000))")
    assert len(polls) == before

    gallery = page.locator("#samples img")
    expect(gallery.first).to_be_visible()
    assert gallery.first.evaluate("image => image.complete && image.naturalWidth > 0")
    page.locator("#tab-failures").click()
    expect(page.locator("#failures")).to_contain_text("broken.jpg")
    page.locator("#tab-samples").click()
    gallery.first.click()
    expect(page.locator("[aria-labelledby=similar-title] img").first).to_be_visible()


def test_new_run_wakes_the_page_and_its_header(open_page: Callable[..., Page], tmp_path: Path) -> None:
    make_images(tmp_path / "images", 3)
    queue(tmp_path / "images")
    page = open_page("/datasets/cats/")
    bar = page.locator("main .dataset-progress").first
    header = page.locator("#progress-header")
    with worker(tmp_path / "first.log"):
        expect(bar).to_have_attribute("data-state", "ready")
    expect(header).not_to_have_attribute("hx-trigger", re.compile(".*"))
    first = bar.get_attribute("data-version")
    queue(tmp_path / "images")
    expect(bar).to_have_attribute("data-state", "pending")
    expect(header).to_have_attribute("hx-trigger", "every 3s")
    with worker(tmp_path / "second.log"):
        expect(bar).to_have_attribute("data-state", "ready")
    assert int(bar.get_attribute("data-version") or 0) > int(first or 0)


def test_process_with_wait_shows_the_end_in_its_exit_status(transactional_db: None, tmp_path: Path) -> None:
    make_images(tmp_path / "images", 3)
    command = [sys.executable, "manage.py", "process", str(tmp_path / "images"), "--dataset", "cats", "--wait"]
    with worker(tmp_path / "log"):
        done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "3 samples" in done.stdout


def test_process_with_wait_exits_1_on_error(transactional_db: None, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    make_images(folder, 3)
    command = [sys.executable, "manage.py", "process", str(folder), "--dataset", "cats", "--wait"]
    waiting = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True)
    wait_until(lambda: Run.objects.exists(), seconds=30, what="the run was not queued")
    shutil.rmtree(folder)
    with worker(tmp_path / "log"):
        output, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 1
    assert "There is no folder" in output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["/no/such/folder", "--dataset", "cats"], "There is no folder /no/such/folder."),
        (["manage.py", "--dataset", "cats"], "manage.py is not a folder."),
        ([".", "--dataset", "../cats"], "Use letters, digits"),
    ],
)
def test_process_refuses_in_one_line(transactional_db: None, arguments: list[str], told: str) -> None:
    command = [sys.executable, "manage.py", "process", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
