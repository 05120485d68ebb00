"""What a newcomer meets after `make demo`: a living list, a link that signs in, and a line that makes a row."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.services import free_port, wait_until

from .test_demo import demo, progress


def test_the_site_lives(tmp_path: Path) -> None:
    port = free_port()
    log = tmp_path / "log"
    with demo(log, tmp_path / "data", PORT=str(port), PACE="60"):
        wait_until(lambda: progress(port, "demo-clip")["state"] == "error", seconds=120, what="no run failed")
        assert "MemoryError: CUDA out of memory" in progress(port, "demo-clip")["error"]
        assert "in encode" in progress(port, "demo-clip")["error"]
        wait_until(lambda: progress(port, "demo-captions")["paused"], seconds=120, what="no run was paused")
        assert len(progress(port, "demo-crawl")["stages"]) == 6
        assert progress(port, "demo-stream")["total"] == 0
        wait_until(lambda: progress(port, "demo")["state"] == "embedding", seconds=120, what="no images")
        assert progress(port, "demo")["message"] == "Slowed down to 60 a second"
        for dataset_id in ("demo-birds", "demo-maps"):
            wait_until(lambda: progress(port, dataset_id)["state"] == "ready", seconds=120, what="no run ended")  # noqa: B023 -- called at once
        wait_until(lambda: "curl " in log.read_text(), seconds=60, what="no line for a row of one's own")
        printed = log.read_text()

        line = next(line for line in printed.splitlines() if line.strip().startswith("curl "))
        subprocess.run(shlex.split(line), check=True, capture_output=True)
        assert (progress(port, "mine")["current"], progress(port, "mine")["total"]) == (45, 100)

        names = ("demo", "mine", "Web crawl (demo)", "CLIP embeddings (demo)")
        page = httpx.get(f"http://127.0.0.1:{port}/").text
        assert [name for name in names if name not in page] == []

        found = re.search(r"http://\S+/accounts/link/\S+", printed)
        assert found is not None
        with httpx.Client(follow_redirects=True) as browser:
            assert "Sign out" in browser.get(found[0]).text
            assert browser.get(found[0]).url.path == "/"  # the same browser is signed in
        with httpx.Client(follow_redirects=True) as other:
            assert "This link was used before" in other.get(found[0]).text
    said = log.read_text()
    password = re.findall(r"password (?:of admin is )?(\S+)", said)
    assert len(password) == 2
    assert password[0] == password[1]  # at the start, and again at the end
    assert [line for line in said.splitlines() if re.search("WARNING|ERROR|Traceback|not reported", line)] == []


@pytest.mark.parametrize("own", [False, True])
def test_images_alone(tmp_path: Path, own: bool) -> None:
    port = free_port()
    log = tmp_path / "log"
    values = {"IMAGES": str(tmp_path / "images")} if own else {"DEMO": "plain", "PACE": "0"}
    (tmp_path / "images").mkdir()
    with demo(log, tmp_path / "data", PORT=str(port), **values):
        wait_until(lambda: "curl " in log.read_text(), seconds=120, what="it did not begin")
        listed = httpx.get(f"http://127.0.0.1:{port}/api/datasets").json()
        assert [one["dataset_id"] for one in listed["datasets"]] == ["images" if own else "demo"]
        assert "a second" not in log.read_text()


def test_a_second_start_goes_on_with_the_images_that_are_there(tmp_path: Path) -> None:
    said = []
    for start in ("first", "second"):
        with demo(tmp_path / start, tmp_path / "data", PORT=str(free_port()), DEMO="plain"):
            wait_until(lambda: "curl " in (tmp_path / start).read_text(), seconds=120, what="it did not begin")  # noqa: B023 -- called at once
        said.append((tmp_path / start).read_text())
    for line, times in (("Generating 300 images", (1, 0)), ("images are there", (0, 1)), ("PACE=0", (1, 0))):
        assert tuple(each.count(line) for each in said) == times
