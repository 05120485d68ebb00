"""Every file of a folder is accounted for: found, reported, or counted as not looked at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from apps.core.beneath import Folder, OutsideFolder, Reach
from apps.pipeline.images.scanning import LEAVES, Entry, FoundFile, Unreadable, scan
from apps.pipeline.images.selection import (
    MOST_ENDINGS,
    OTHER_ENDINGS,
    PatternsRefused,
    Selection,
    Tally,
    clean_patterns,
    describe,
)

from .indexing import encoded, scene

JPEG = encoded(scene(4, 3), "JPEG")


def put(root: Path, *names: str, content: bytes = JPEG) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def looked(
    root: Path,
    selection: Selection | None = None,
    reach: Reach = Reach(),  # noqa: B008 -- it is immutable
) -> tuple[list[str], dict[str, str], Tally]:
    """Return the paths that a scan finds, what it reports, and what it counts."""
    tally = Tally()
    entries: list[Entry] = list(scan(root, selection=selection, tally=tally, reach=reach))
    found = [entry.path for entry in entries if isinstance(entry, FoundFile)]
    return found, {entry.path: entry.reason for entry in entries if isinstance(entry, Unreadable)}, tally


def test_files_that_are_no_images_are_counted_by_their_ending(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "sub/b.JPG")
    put(tmp_path, "1.mp4", "sub/2.MP4", "labels.csv", "README", "x.tar.gz", ".. odd. ", content=b"words")
    os.mkfifo(tmp_path / "pipe")
    found, reported, tally = looked(tmp_path)
    assert found == ["a.jpg", "sub/b.JPG"]
    assert reported == {}
    assert tally.others == {".mp4": 2, ".csv": 1, "no ending": 1, ".gz": 1, "pipes and devices": 1}
    assert tally.left_out == {"hidden": 1}


def test_litter_of_systems_is_left_out_by_name_and_counted(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "@eaDir/a.jpg/THUMB.jpg", "sub/@eaDir/b.jpg", "#recycle/old.jpg", "$RECYCLE.BIN/old.jpg")
    put(tmp_path, "__MACOSX/a.jpg", "lost+found/a.jpg", "Thumbs.db", "sub/thumbs.db", ".cache/a.jpg", "sub/._a.jpg")
    found, reported, tally = looked(tmp_path)
    assert (found, reported) == (["a.jpg"], {})
    assert tally.left_out == {
        "@eaDir": 2, "#recycle": 1, "$RECYCLE.BIN": 1, "__MACOSX": 1, "lost+found": 1, "Thumbs.db": 2, "hidden": 2,
    }  # fmt: skip
    assert tally.others == {}
    assert looked(tmp_path / "@eaDir")[0] == ["a.jpg/THUMB.jpg"]  # who names it means it


def test_patterns_are_gitignore_s(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "a.png", "keep.png", "raw/1.jpg", "raw/sub/2.jpg", "deep/raw/3.jpg")
    put(tmp_path, "notes.txt", content=b"words")
    found, _, tally = looked(tmp_path, Selection(exclude="*.png\n!keep.png\n/raw/\n# a comment"))
    assert found == ["a.jpg", "keep.png", "deep/raw/3.jpg"]
    assert tally.excluded == 2  # a file, and a directory that is not listed
    assert tally.others == {".txt": 1}
    found, _, tally = looked(tmp_path, Selection(include="raw/\n*.png", exclude="sub/"))
    assert found == ["a.png", "keep.png", "deep/raw/3.jpg", "raw/1.jpg"]
    assert tally.excluded == 3


@pytest.mark.parametrize(
    "pattern", ["!", "a\0b", "*a*a*a*a*b", "**/a/**/b/**/c/**", "x" * 501], ids=["bare", "NUL", "stars", "deep", "long"]
)
def test_patterns_that_are_none_or_cost_too_much_are_refused(pattern: str) -> None:
    with pytest.raises(PatternsRefused):
        Selection(exclude=pattern)
    with pytest.raises(PatternsRefused):
        clean_patterns([pattern])


def test_patterns_lose_their_blank_lines() -> None:
    assert clean_patterns(["a*\r\n", "", "  ", "b/"]) == "a*\nb/"
    with pytest.raises(PatternsRefused, match="At most 200"):
        clean_patterns(["a"] * 201)


def test_a_tally_does_not_grow_with_what_it_counts() -> None:
    tally = Tally()
    for number in range(10 * MOST_ENDINGS):
        tally.add_other(f"file.{number}")
    assert len(tally.others) == MOST_ENDINGS + 1
    assert tally.others[OTHER_ENDINGS] == 9 * MOST_ENDINGS
    assert tally.others.total() == 10 * MOST_ENDINGS


def test_what_was_counted_is_one_line() -> None:
    tally = Tally()
    assert describe(tally.as_json()) == ""
    tally.add_other("a.TGZ")
    assert describe(tally.as_json()) == "1 other file: 1 .tgz."
    tally.others.update({".mp4": 1200, "no ending": 3, **{f".{letter}": 2 for letter in "abcdefgh"}})
    tally.left_out["@eaDir"] = 4
    tally.excluded = 7
    assert describe(tally.as_json()) == (
        "1,220 other files: 1,200 .mp4, 3 no ending, 2 .a, 2 .b, 2 .c, 2 .d, 2 .e, 2 .f and 5 more."
        " Left out: 4 @eaDir. 7 excluded by patterns."
    )


def test_one_of_a_kind_is_not_told_as_many() -> None:
    tally = Tally()
    tally.others.update({"links to folders": 1, "pipes and devices": 1})
    assert describe(tally.as_json()) == "2 other files: 1 link to a folder, 1 pipe or device."
    tally.others.update(tally.others)
    assert describe(tally.as_json()) == "4 other files: 2 links to folders, 2 pipes and devices."


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """The cache of a model hub: names that are links to contents beside them."""
    for number in range(3):
        put(tmp_path, f"cache/blobs/{number:064x}")
        link = tmp_path / f"cache/snapshots/main/train/{number}.jpg"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"../../../blobs/{number:064x}")
    put(tmp_path, "cache/blobs/readme", content=b"words")
    (tmp_path / "cache/snapshots/main/README.md").symlink_to("../../blobs/readme")
    return tmp_path / "cache"


def test_links_that_lead_out_are_followed_where_they_may(hub: Path) -> None:
    snapshot = hub / "snapshots/main"
    paths = [f"train/{number}.jpg" for number in range(3)]
    found, reported, tally = looked(snapshot)
    assert found == []
    assert reported == dict.fromkeys(paths, LEAVES)
    assert tally.others == {".md": 1}
    found, reported, tally = looked(snapshot, reach=Reach((str(hub / "blobs"),)))
    assert (found, reported, tally.others) == (paths, {}, {".md": 1})
    with Folder(str(snapshot), Reach((str(hub / "blobs"),))) as folder, folder.open_file(paths[0]) as file:
        assert file.read() == JPEG


def test_links_never_lead_into_what_is_forbidden(hub: Path) -> None:
    snapshot = hub / "snapshots/main"
    reach = Reach(("/",), never=str(hub / "blobs"))
    found, reported, _ = looked(snapshot, reach=reach)
    assert found == []
    assert set(reported.values()) == {LEAVES}
    with Folder(str(snapshot), reach) as folder, pytest.raises(OutsideFolder):
        folder.open_file("train/0.jpg")
    beside = Reach((str(hub / "blo"),))  # begins like the directory, and is not above it
    assert looked(snapshot, reach=beside)[0] == []


def test_links_to_directories_outside_are_followed_once(tmp_path: Path) -> None:
    put(tmp_path, "root/a.jpg", "shared/cats/1.jpg", "shared/cats/sub/2.jpg", "shared/dogs/3.jpg")
    root = tmp_path / "root"
    (root / "cats").symlink_to("../shared/cats")
    (root / "again").symlink_to("../shared/cats/sub")
    (root / "up").symlink_to("..")
    (tmp_path / "shared/cats/home").symlink_to(root)
    (tmp_path / "shared/cats/dogs").symlink_to("../dogs")
    found, reported, tally = looked(root, reach=Reach((str(tmp_path / "shared"),)))
    assert found == ["a.jpg", "again/2.jpg"]
    assert reported == {"up": LEAVES}
    assert tally.others == {"links to folders": 1}
    (root / "again").unlink()
    found, reported, tally = looked(root, reach=Reach((str(tmp_path / "shared"),)))
    assert found == ["a.jpg", "cats/1.jpg", "cats/dogs/3.jpg", "cats/sub/2.jpg"]
    assert tally.others == {"links to folders": 1}  # the way back to the folder itself
    with Folder(str(root), Reach((str(tmp_path / "shared"),))) as folder, folder.open_file("cats/dogs/3.jpg") as file:
        assert file.read() == JPEG


def test_a_link_that_leads_in_a_circle_is_said_to(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    (tmp_path / "self.txt").symlink_to("self.txt")
    found, reported, tally = looked(tmp_path)
    assert found == ["a.jpg"]
    assert reported == {"self.jpg": "a link that leads back to itself, or through too many others"}
    assert tally.others == {".txt": 1}


def test_a_link_that_is_swapped_in_is_not_followed_from_there(hub: Path, tmp_path: Path) -> None:
    put(tmp_path, "secret/0.jpg")
    reach = Reach((str(hub / "blobs"),))
    blob = hub / "blobs" / f"{0:064x}"
    with Folder(str(hub / "snapshots/main"), reach) as folder:
        folder.open_file("train/0.jpg").close()
        blob.unlink()
        blob.symlink_to(tmp_path / "secret/0.jpg")
        with pytest.raises(OutsideFolder):
            folder.open_file("train/0.jpg")
