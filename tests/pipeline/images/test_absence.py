"""What can be seen to be gone, and what cannot."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from apps.core.beneath import Folder
from apps.pipeline.images.absence import EMPTY, OTHER_FILE_SYSTEM, Absence, Sight

NOBODY = 65534
GONE = Sight(True)
THERE = Sight(False)


def look(root: Path, path: str, *, remounted: tuple[str, ...] = ()) -> Sight:
    with Folder(str(root)) as folder:
        return Absence(folder, remounted).look(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("top.jpg", "a/b/1.jpg", "a/2.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty/.hidden").mkdir(parents=True)
    return tmp_path


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_file_that_is_not_in_its_directory_is_gone(root: Path) -> None:
    for path in ("missing.jpg", "a/missing.jpg", "a/b/missing.jpg", "a/2.jpg/3.jpg"):
        assert look(root, path) == GONE


def test_directory_that_is_not_in_its_directory_is_gone_with_all_its_files(root: Path) -> None:
    assert look(root, "a/moved/away/1.jpg") == GONE


def test_file_that_is_there_is_there(root: Path) -> None:
    (root / "link.jpg").symlink_to("/nowhere")
    for path in ("top.jpg", "a/b/1.jpg", "link.jpg"):
        assert look(root, path) == THERE
    (root / "top.jpg").unlink()
    (root / "top.jpg").mkdir()
    assert look(root, "top.jpg") == GONE


def test_empty_directory_says_nothing(root: Path) -> None:
    for path in ("empty/1.jpg", "empty/deep/1.jpg"):
        assert look(root, path) == Sight(False, "empty", EMPTY)


def test_directory_that_has_become_a_link_says_nothing(root: Path) -> None:
    (root / "linked").symlink_to("a")
    assert look(root, "linked/missing.jpg") == Sight(False, "linked", "a link that is not followed")


def test_directory_on_another_file_system_says_nothing_of_what_is_not_in_it(root: Path) -> None:
    kept = Sight(False, "a", OTHER_FILE_SYSTEM)
    for path in ("a/missing.jpg", "a/b/missing.jpg", "a/moved/away.jpg"):
        assert look(root, path, remounted=("a",)) == kept
    assert look(root, "a/2.jpg", remounted=("a",)) == THERE
    assert look(root, "a b.jpg", remounted=("a",)) == GONE
    assert look(root, "away/1.jpg", remounted=("away",)) == GONE
    assert look(root, "missing.jpg", remounted=("",)) == Sight(False, "", OTHER_FILE_SYSTEM)


@pytest.mark.parametrize(("mode", "path"), [(0o644, "a/2.jpg"), (0o000, "a/b/1.jpg"), (0o000, "a/missing/1.jpg")])
def test_directory_that_cannot_be_read_says_nothing(mode: int, path: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        (Path(name) / "a/b").mkdir(parents=True)
        (Path(name) / "a").chmod(mode)
        with as_nobody():
            assert not look(Path(name), path).is_gone
            assert look(Path(name), path).reason == "permission denied"


def test_folder_that_is_gone_raises(root: Path) -> None:
    with Folder(str(root / "a")) as folder:
        (root / "a").rename(root / "moved")
        assert Absence(folder, ()).look("2.jpg") == THERE
    with pytest.raises(FileNotFoundError):
        look(root / "a", "2.jpg")
