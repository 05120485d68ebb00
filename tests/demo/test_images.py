"""That the demo folder is what it says, the same every time, and finished after an interruption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apps.demo.images import make_demo_images
from apps.pipeline.images.embedders import ColourLayout, embed_chunk
from apps.pipeline.images.scanning import FoundFile, scan
from apps.pipeline.images.verify import Indexed, Limits, Rejected, index_chunk

COUNT = 68
"""The 44 awkward ones and one round of the others."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "images"
    make_demo_images(folder, COUNT)
    return folder


@pytest.fixture(scope="module")
def results(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Indexed | Rejected], str]:
    thumbnails = str(tmp_path_factory.mktemp("thumbnails"))
    files = [item for item in scan(demo) if isinstance(item, FoundFile)]
    return index_chunk(str(demo), files, thumbnails, Limits(50_000_000)), thumbnails


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_there_are_as_many_good_files_as_asked_for_and_three_bad_ones(
    results: tuple[list[Indexed | Rejected], str],
) -> None:
    assert sum(isinstance(item, Indexed) for item in results[0]) == COUNT
    assert {item.path: item.reason for item in results[0] if isinstance(item, Rejected)} == {
        "broken/cut-short.jpg": "truncated",
        "broken/notes.jpg": "text, not an image",
        "broken/nothing.png": "empty file",
    }


def test_what_is_awkward_about_real_images_is_there(demo: Path, results: tuple[list[Indexed | Rejected], str]) -> None:
    indexed = {item.path: item for item in results[0] if isinstance(item, Indexed)}
    opened = {path: Image.open(demo / path) for path in indexed}
    assert {item.format for item in indexed.values()} == {"JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"}
    assert {"CMYK", "P", "RGBA", "I;16", "1", "L"} <= {image.mode for image in opened.values()}
    assert {image.getexif().get(0x0112, 1) for image in opened.values()} >= {3, 5, 6, 8}
    turned = indexed["formats/turned-by-exif-6.jpg"]
    assert (turned.width, turned.height) == (800, 600)
    assert opened["formats/turned-by-exif-6.jpg"].size == (600, 800)
    sizes = {(item.width, item.height) for item in indexed.values()}
    assert {(1, 1), (16, 16), (4000, 3000)} <= sizes
    assert sum(max(size) >= 600 for size in sizes) > 5
    assert not [path for path in indexed if "/" not in path]


def test_the_near_duplicates_find_one_another(results: tuple[list[Indexed | Rejected], str]) -> None:
    indexed = [item for item in results[0] if isinstance(item, Indexed)]
    name = f"{ColourLayout.__module__}.{ColourLayout.__name__}"
    rows = embed_chunk(name, results[1], [item.sha256 for item in indexed])
    nearest = np.argsort(-(rows @ rows.T), axis=1)
    groups = [item.path.rpartition("-")[0] if item.path.startswith("look-alikes/") else "" for item in indexed]
    assert len(set(groups)) == 6
    for index, group in enumerate(groups):
        if group:
            assert [groups[other] for other in nearest[index, :4]] == [group] * 4


def test_the_folder_stays_small(demo: Path) -> None:
    assert sum(len(data) for data in content(demo).values()) < 40_000_000 * COUNT / 300


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(tmp_path: Path) -> None:
    for folder, seed in (("a", 3), ("b", 3), ("c", 4)):
        make_demo_images(tmp_path / folder, 5, seed)
    first, second, third = (content(tmp_path / folder) for folder in "abc")
    assert len(first) == 5 + 3 + 1
    assert first == second
    assert first["formats/turned-by-exif-3.jpg"] != third["formats/turned-by-exif-3.jpg"]


def test_a_finished_folder_is_left_alone(tmp_path: Path) -> None:
    make_demo_images(tmp_path, 4)
    (tmp_path / "broken/notes.jpg").unlink()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    make_demo_images(tmp_path, 4)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_an_interrupted_folder_is_completed(tmp_path: Path) -> None:
    make_demo_images(tmp_path / "whole", 6)
    whole = content(tmp_path / "whole")
    make_demo_images(tmp_path / "cut", 6)
    cut = tmp_path / "cut"
    (cut / ".complete").unlink()
    lost = cut / "formats/turned-by-exif-5.jpg"
    lost.unlink()
    # A process that is killed while it writes leaves the part it has written.
    lost.with_name(f".{lost.name}.part").write_bytes(b"half")
    kept = (cut / "formats/turned-by-exif-3.jpg").stat().st_ino
    make_demo_images(cut, 6)
    assert content(cut) == whole
    assert (cut / "formats/turned-by-exif-3.jpg").stat().st_ino == kept


def test_a_larger_count_adds_to_a_smaller_one(tmp_path: Path) -> None:
    make_demo_images(tmp_path / "grown", 2)
    make_demo_images(tmp_path / "grown", 4)
    make_demo_images(tmp_path / "fresh", 4)
    assert content(tmp_path / "grown") == content(tmp_path / "fresh")
