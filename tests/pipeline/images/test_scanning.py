"""What a scan finds, what it passes over and what it reports."""

from __future__ import annotations

import inspect
import io
import os
import socket
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from apps.core.beneath import Folder
from apps.pipeline.images.kinds import format_of
from apps.pipeline.images.scanning import LEAVES, FoundFile, MountPoint, Unreadable, mount_point, scan

from .indexing import FORMATS, hanging_is_failing

NOBODY = 65534


@pytest.fixture(autouse=True)
def _never_hangs() -> Iterator[None]:
    with hanging_is_failing():
        yield


def encoded(format_: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (4, 3), (200, 80, 40)).save(stream, format_)
    return stream.getvalue()


def put(path: Path, content: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content or encoded())
    return path


def paths(root: Path) -> list[str]:
    return [item.path for item in scan(root) if isinstance(item, FoundFile)]


def unreadable(root: Path) -> dict[str, str]:
    return {item.path: item.reason for item in scan(root) if isinstance(item, Unreadable)}


@pytest.mark.parametrize("format_", FORMATS)
def test_an_image_is_known_by_its_content(tmp_path: Path, format_: str) -> None:
    put(tmp_path / "no extension", encoded(format_))
    put(tmp_path / "wrong.txt", encoded(format_))
    assert paths(tmp_path) == ["no extension", "wrong.txt"]


def test_a_name_like_an_image_s_is_a_candidate_whatever_the_content(tmp_path: Path) -> None:
    names = ["a.jpg", "b.JPEG", "c.Png", "d.webp", "e.gif", "f.bmp", "g.tif", "h.TIFF"]
    for name in names:
        put(tmp_path / name, b"nothing of the kind")
    assert paths(tmp_path) == names


@pytest.mark.parametrize(
    "content", [b"BMW prices of 2024, in euro\n", b"RIFF....WAVEfmt ", b"GIF90", b"II*", b"\x00" * 40]
)
def test_other_files_are_ignored(tmp_path: Path, content: bytes) -> None:
    put(tmp_path / "notes.txt", content)
    assert format_of(content) == ""
    assert list(scan(tmp_path)) == []


def test_size_and_time_are_the_file_s(tmp_path: Path) -> None:
    file = put(tmp_path / "a.jpg")
    os.utime(file, ns=(1, 1_234_567_890_123_456_789))
    assert list(scan(tmp_path)) == [FoundFile("a.jpg", len(encoded()), 1_234_567_890_123_456_789)]


def test_the_order_is_by_name_with_files_before_subdirectories(tmp_path: Path) -> None:
    for name in ("z.jpg", "b/2.jpg", "b/1.jpg", "b/c/1.jpg", "a/1.jpg", "a.jpg", "é.jpg", "b-/1.jpg"):
        put(tmp_path / name)
    expected = ["a.jpg", "z.jpg", "é.jpg", "a/1.jpg", "b/1.jpg", "b/2.jpg", "b/c/1.jpg", "b-/1.jpg"]
    assert paths(tmp_path) == expected
    assert list(scan(tmp_path)) == list(scan(tmp_path))


def test_hidden_files_and_directories_are_passed_over(tmp_path: Path) -> None:
    put(tmp_path / ".hidden.jpg")
    put(tmp_path / ".cache/a.jpg")
    put(tmp_path / "seen/.a.jpg")
    assert list(scan(tmp_path)) == []
    assert paths(tmp_path / ".cache") == ["a.jpg"]


@pytest.mark.parametrize(
    "name", ["new\nline.jpg", "tab\tand\rreturn.jpg", "bell\x07.jpg", " .jpg ", "-rf.jpg", "\u202e.jpg"]
)
def test_odd_names_break_nothing(tmp_path: Path, name: str) -> None:
    put(tmp_path / name)
    put(tmp_path / f"folder {name}" / name)
    assert paths(tmp_path) == [name, f"folder {name}/{name}"]
    with Folder(str(tmp_path)) as root, root.open_file(f"folder {name}/{name}") as file:
        assert file.read() == encoded()


def test_names_that_are_not_utf_8_are_reported_in_a_form_that_is(tmp_path: Path) -> None:
    for name in (b"caf\xe9.jpg", b"caf\xe9.txt", b"picture \xff"):
        content = encoded() if name.startswith(b"picture") else b"text"
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(content)
    put(Path(os.fsdecode(os.fsencode(tmp_path) + b"/f\xfcr/a.jpg")))
    put(tmp_path / "good.jpg")
    reported = unreadable(tmp_path)
    assert set(reported) == {"caf\\xe9.jpg", "picture \\xff", "f\\xfcr"}
    assert set(reported.values()) == {"the name is not valid UTF-8: rename it"}
    assert "".join(reported).encode("utf-8")
    assert paths(tmp_path) == ["good.jpg"]


def test_pipes_sockets_and_devices_are_neither_opened_nor_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link to a pipe.jpg").symlink_to("pipe")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")
        assert list(scan(tmp_path)) == []


def test_a_link_to_a_file_inside_is_followed(tmp_path: Path) -> None:
    put(tmp_path / "real/a.jpg")
    (tmp_path / "link.jpg").symlink_to("real/a.jpg")
    (tmp_path / "absolute").symlink_to(tmp_path / "real/a.jpg")
    assert list(scan(tmp_path))[1] == FoundFile(
        "link.jpg", len(encoded()), (tmp_path / "real/a.jpg").stat().st_mtime_ns
    )
    assert paths(tmp_path) == ["absolute", "link.jpg", "real/a.jpg"]


def test_a_link_that_leaves_the_folder_is_reported_and_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    put(tmp_path / "root-outside/secret.jpg")
    put(root / "a.jpg")
    (root / "file.jpg").symlink_to("../root-outside/secret.jpg")
    (root / "folder").symlink_to("../root-outside")
    (root / "text").symlink_to("/etc/passwd")
    (root / "up").symlink_to("..")
    # Prefixes of names must not be taken for folders: root-outside begins with root.
    assert paths(root) == ["a.jpg"]
    assert unreadable(root) == {"file.jpg": LEAVES, "folder": LEAVES, "up": LEAVES}
    assert "FOLLOW_LINKS_TO" in LEAVES
    assert "--follow-links" in LEAVES


def test_links_to_directories_inside_neither_loop_nor_repeat(tmp_path: Path) -> None:
    put(tmp_path / "a/1.jpg")
    (tmp_path / "a/up").symlink_to("..")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "self").symlink_to(".")
    assert list(scan(tmp_path)) == [FoundFile("a/1.jpg", len(encoded()), (tmp_path / "a/1.jpg").stat().st_mtime_ns)]


def test_a_link_to_nothing_is_reported_if_it_was_to_be_an_image(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "gone.txt").symlink_to("nowhere.txt")
    (tmp_path / "circle.jpg").symlink_to("circle.jpg")
    reported = unreadable(tmp_path)
    assert reported["gone.jpg"] == "a link that leads nowhere"
    assert set(reported) == {"circle.jpg", "gone.jpg"}
    assert paths(tmp_path) == []


def test_a_folder_that_is_itself_reached_through_a_link_is_scanned(tmp_path: Path) -> None:
    put(tmp_path / "real/a.jpg")
    (tmp_path / "link").symlink_to("real")
    assert paths(tmp_path / "link") == ["a.jpg"]


def test_what_may_not_be_read_is_reported() -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        put(root / "locked/a.jpg")
        put(root / "open/b.jpg").chmod(0o644)
        (root / "open").chmod(0o755)
        put(root / "secret").chmod(0)
        (root / "locked").chmod(0)
        # Root may read everything, so the test has to be someone else for a moment.
        as_root = os.geteuid() == 0
        if as_root:
            os.seteuid(NOBODY)
        try:
            found = list(scan(root))
        finally:
            if as_root:
                os.seteuid(0)
            (root / "locked").chmod(0o755)
    assert [item for item in found if isinstance(item, Unreadable)] == [
        Unreadable("secret", "permission denied"),
        Unreadable("locked", "permission denied", is_directory=True),
    ]
    assert [item.path for item in found if isinstance(item, FoundFile)] == ["open/b.jpg"]


def test_what_vanishes_while_the_scan_runs_is_left_out(tmp_path: Path) -> None:
    for name in ("1.jpg", "2.jpg", "3", "a/1.jpg", "b/1.jpg"):
        put(tmp_path / name)
    found = scan(tmp_path)
    assert next(found).path == "1.jpg"
    (tmp_path / "2.jpg").unlink()
    (tmp_path / "3").unlink()
    (tmp_path / "a/1.jpg").unlink()
    (tmp_path / "a").rmdir()
    assert [item.path for item in found] == ["b/1.jpg"]


def test_results_come_while_the_rest_is_still_unseen(tmp_path: Path) -> None:
    put(tmp_path / "1.jpg")
    put(tmp_path / "z/1.jpg")
    found = scan(tmp_path)
    next(found)
    put(tmp_path / "z/0.jpg")
    assert [item.path for item in found] == ["z/0.jpg", "z/1.jpg"]


def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    def peak(root: Path) -> int:
        tracemalloc.start()
        assert sum(1 for _ in scan(root)) > 0
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    for tree, directories in (("small", 10), ("large", 100)):
        for directory in range(directories):
            folder = tmp_path / tree / f"{directory // 10}/{directory:03}"
            folder.mkdir(parents=True)
            for file in range(10):
                (folder / f"{file:02}.jpg").touch()
    peak(tmp_path / "small")
    assert peak(tmp_path / "large") < 1.5 * peak(tmp_path / "small")


def test_the_depth_of_a_tree_is_no_limit(tmp_path: Path) -> None:
    put(tmp_path / ("d/" * 200) / "a.jpg")
    before = sys.getrecursionlimit()
    # Deeper than Python may call itself, as a tree of 1,000 levels would be with the usual limit.
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        found = paths(tmp_path)
    finally:
        sys.setrecursionlimit(before)
    assert found == ["d/" * 200 + "a.jpg"]


def test_a_root_that_cannot_be_listed_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(scan(tmp_path / "missing"))
    with pytest.raises(NotADirectoryError):
        list(scan(put(tmp_path / "file")))


def test_mount_points_are_told() -> None:
    told = {item.path for item in scan(Path("/dev")) if isinstance(item, MountPoint)}
    assert told == {path.name for path in Path("/dev").iterdir() if path.is_mount() and path.is_dir()}
    assert told
    assert mount_point(Path("/proc/self").resolve()) == Path("/proc")
