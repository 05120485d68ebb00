"""Files are opened below their folder, and nowhere else, whatever becomes of the links."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.core import beneath
from apps.core.beneath import Folder, NotRegularFile, OutsideFolder
from tests.pipeline.images.indexing import hanging_is_failing

INSIDE, SECRET = b"inside", b"secret"


@pytest.fixture(autouse=True)
def _never_hangs() -> Iterator[None]:
    with hanging_is_failing():
        yield


@pytest.fixture(params=["openat2", "part by part"], autouse=True)
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel can do, and what is done where it cannot."""
    if request.param == "part by part":
        monkeypatch.setattr(beneath, "_has_openat2", lambda: False)
    elif not beneath._has_openat2():
        pytest.skip("this kernel has no openat2")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a file, and a folder and a file beside it."""
    for folder, content in (("base/a", INSIDE), ("base-outside", SECRET)):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "b.jpg").write_bytes(content)
    return tmp_path / "base"


def read(root: Path, relative: str) -> bytes:
    with Folder(str(root)) as folder, folder.open_file(relative) as file:
        return file.read()


def test_file_is_read(root: Path) -> None:
    (root / "..a").mkdir()
    (root / "..a/b..jpg").write_bytes(b"dots")
    assert read(root, "a/b.jpg") == INSIDE
    assert read(root, "..a/b..jpg") == b"dots"
    with Folder(str(root)) as folder:
        assert folder.status("a/b.jpg").st_size == len(INSIDE)
        with folder.directory("a") as descriptor:
            assert [entry.name for entry in os.scandir(descriptor)] == ["b.jpg"]


@pytest.mark.parametrize("relative", ["/etc/passwd", "//etc/passwd", "../base-outside/b.jpg", "a/..", "", ".", "a\0"])
def test_path_that_is_not_below_is_refused(root: Path, relative: str) -> None:
    with pytest.raises(OutsideFolder):
        read(root, relative)


def test_links_that_stay_inside_are_followed(root: Path) -> None:
    (root / "relative.jpg").symlink_to("a/b.jpg")
    (root / "absolute.jpg").symlink_to(root / "a/b.jpg")
    (root / "folder").symlink_to("a")
    (root / "a/up").symlink_to("..")
    for relative in ("relative.jpg", "absolute.jpg", "folder/b.jpg", "a/up/relative.jpg"):
        assert read(root, relative) == INSIDE
    with Folder(str(root)) as folder:
        assert folder.status("absolute.jpg").st_ino == (root / "a/b.jpg").stat().st_ino


def test_links_that_lead_out_are_refused(root: Path) -> None:
    (root / "file.jpg").symlink_to("../base-outside/b.jpg")
    (root / "absolute.jpg").symlink_to(root.parent / "base-outside/b.jpg")
    (root / "folder").symlink_to("../base-outside")
    (root / "up").symlink_to("..")
    (root / "process").symlink_to("/proc/self/root")
    for relative in ("file.jpg", "absolute.jpg", "folder/b.jpg", "up/base/a/../b", "process/proc/version", "up"):
        with pytest.raises(OutsideFolder):
            read(root, relative)
    with Folder(str(root)) as folder, pytest.raises(OutsideFolder):
        folder.status("file.jpg")


def test_what_is_no_file_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(root / "pipe")
    for relative in ("pipe", "a"):
        with pytest.raises(NotRegularFile):
            read(root, relative)
    (root / "circle").symlink_to("circle")
    (root / "nowhere").symlink_to("missing")
    for relative in ("missing", "nowhere", "missing/b.jpg"):
        with pytest.raises(FileNotFoundError):
            read(root, relative)
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        for relative in ("socket", "circle", "a/b.jpg/c"):
            with pytest.raises(OSError, match=relative.split("/")[-1]):
                read(root, relative)


def test_folder_that_has_become_a_link_is_refused(root: Path) -> None:
    root.rename(root.parent / "before")
    root.symlink_to("base-outside")
    for path in (root, root / "b.jpg"):
        with pytest.raises(OutsideFolder):
            Folder(str(path))
    with pytest.raises(FileNotFoundError):
        Folder(str(root.parent / "missing"))


def test_folder_stays_the_one_that_was_opened(root: Path) -> None:
    with Folder(str(root)) as folder:
        root.rename(root.parent / "before")
        root.symlink_to("base-outside")
        with folder.open_file("a/b.jpg") as file:
            assert file.read() == INSIDE


def test_link_swapped_in_after_it_was_resolved_leads_nowhere(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "absolute.jpg").symlink_to(root / "a/b.jpg")
    resolve = os.path.realpath

    def resolve_and_swap(path: str) -> str:
        real = resolve(path)
        (root / "a").rename(root / "before")
        (root / "a").symlink_to("../base-outside")
        return real

    with Folder(str(root)) as folder:
        monkeypatch.setattr(os.path, "realpath", resolve_and_swap)
        with pytest.raises(OutsideFolder, match="swapped"):
            folder.open_file("absolute.jpg")


def test_no_byte_from_outside_however_links_are_swapped(root: Path) -> None:
    """A file, and the folder of another, turn into links that lead out and back, thousands of times a second."""
    (root / "c.jpg").write_bytes(INSIDE)
    ended = threading.Event()

    def swap() -> None:
        spare = root.parent / "spare"
        while not ended.is_set():
            for target in ("../base-outside/b.jpg", root.parent / "base-outside/b.jpg"):
                spare.symlink_to(target)
                spare.rename(root / "c.jpg")
                spare.write_bytes(INSIDE)
                spare.rename(root / "c.jpg")
            (root / "a").rename(spare)
            (root / "a").symlink_to("../base-outside")
            (root / "a").unlink()
            spare.rename(root / "a")

    thread = threading.Thread(target=swap)
    thread.start()
    outcomes: set[bytes | type[Exception]] = set()
    try:
        deadline = time.monotonic() + 10
        count = 0
        while time.monotonic() < deadline and (count < 2000 or not outcomes >= {INSIDE, OutsideFolder}):
            count += 1
            for relative in ("c.jpg", "a/b.jpg"):
                try:
                    outcomes.add(read(root, relative))
                except (OSError, OutsideFolder) as error:
                    outcomes.add(type(error))
    finally:
        ended.set()
        thread.join()
    assert SECRET not in outcomes
    assert {INSIDE, OutsideFolder} <= outcomes
