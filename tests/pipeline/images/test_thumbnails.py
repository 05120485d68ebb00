"""What thumbnails show of images of every mode and shape, and how their files are written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from apps.pipeline.images.thumbnails import thumbnail_path
from apps.pipeline.images.verify import Indexed
from tests.repository import ROOT

from .indexing import encoded, expected, index, indexed, pixels, scene, thumbnail


@pytest.mark.parametrize(
    ("size", "small"),
    [
        ((1, 1), (1, 1)),
        ((256, 256), (256, 256)),
        ((30, 20), (30, 20)),
        ((257, 3), (256, 3)),
        ((5000, 1), (313, 1)),
        ((1, 5100), (1, 319)),
        ((1, 6000), (1, 256)),
        ((3000, 2000), (256, 171)),
        ((640, 480), (320, 240)),
        ((642, 480), (241, 180)),
        ((900, 600), (256, 171)),
        ((1920, 1080), (240, 135)),
        ((4001, 1501), (251, 94)),
        ((802, 601), (301, 226)),
        ((1024, 768), (256, 192)),
        ((2060, 1000), (258, 125)),
    ],
)
@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_a_thumbnail_is_256_pixels_or_a_cheap_share_of_the_image(
    tmp_path: Path, format_: str, size: tuple[int, int], small: tuple[int, int]
) -> None:
    content = encoded(Image.new("RGB", size, (90, 120, 40)), format_)
    assert thumbnail(tmp_path, content).size == small
    assert np.abs(pixels(tmp_path, content) - (90, 120, 40)).max() <= 3


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    content = encoded(scene().convert("CMYK"), "JPEG", quality=95)
    assert np.abs(pixels(tmp_path, content) - expected(scene(), (256, 192))).mean() < 4


def test_lab_becomes_rgb(tmp_path: Path) -> None:
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    soft = scene().point(lambda value: 64 + value // 2)  # well inside of what both spaces can hold
    content = encoded(to_lab.apply(soft), "TIFF")
    assert np.abs(pixels(tmp_path, content) - expected(soft, (256, 192))).mean() < 6


@pytest.mark.parametrize("mode", ["1", "L", "P", "YCbCr", "RGBX"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    content = encoded(scene().convert(mode), "TIFF" if mode in ("YCbCr", "RGBX") else "PNG")
    wanted = expected(scene().convert("L") if mode in ("1", "L") else scene(), (16, 12))
    # Dithering is undone by looking at it from afar.
    seen = np.asarray(thumbnail(tmp_path, content).reduce(16), dtype=np.float64)
    assert np.abs(seen - wanted).mean() < 10


@pytest.mark.parametrize("format_", ["PNG", "WEBP", "TIFF"])
def test_transparency_shows_mid_grey_and_not_the_colour_below(tmp_path: Path, format_: str) -> None:
    image = Image.new("RGBA", (512, 512), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (256, 0, 512, 512))
    seen = pixels(tmp_path, encoded(image, format_))
    assert np.abs(seen[:, :120] - 128).max() < 6
    assert np.abs(seen[:, 136:] - (0, 0, 255)).max() < 8
    # Where both meet, the red that nobody can see must not bleed in.
    assert seen[:, 120:136, 0].max() < 160


@pytest.mark.parametrize("format_", ["PNG", "GIF"])
def test_palette_with_transparency(tmp_path: Path, format_: str) -> None:
    image = Image.new("P", (512, 512), 0)
    image.putpalette([255, 0, 0, 0, 200, 0] + [0] * 762)
    image.paste(1, (256, 0, 512, 512))
    seen = pixels(tmp_path, encoded(image, format_, transparency=0))
    assert np.abs(seen[:, :120] - 128).max() < 6
    assert np.abs(seen[:, 140:] - (0, 200, 0)).max() < 8


def test_grey_with_alpha_and_grey_with_a_transparent_value(tmp_path: Path) -> None:
    faded = encoded(Image.new("LA", (20, 20), (255, 0)), "PNG")
    keyed = encoded(Image.new("L", (20, 20), 9), "PNG", transparency=9)
    for content in (faded, keyed):
        assert np.abs(pixels(tmp_path, content) - 128).max() < 3


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
@pytest.mark.parametrize(("low", "high"), [(0, 65535), (0, 4095), (30_000, 30_900)])
def test_sixteen_bits_are_scaled_by_the_range_that_is_used(tmp_path: Path, format_: str, low: int, high: int) -> None:
    values = np.broadcast_to(np.linspace(low, high, 512), (512, 512)).astype(np.uint16)
    seen = pixels(tmp_path, encoded(Image.fromarray(values), format_))[128, :, 0]
    assert seen[0] < 6
    assert seen[-1] > 249
    assert np.abs(seen - np.linspace(0, 255, 256)).max() < 6


def test_big_endian_sixteen_bits(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.linspace(0, 4095, 64), (64, 64)).astype(np.uint16)
    image = Image.frombytes("I;16B", (64, 64), ramp.astype(">u2").tobytes())
    seen = pixels(tmp_path, encoded(image, "TIFF"))[30, :, 0]
    assert np.abs(seen - np.linspace(0, 255, 64)).max() < 6


@pytest.mark.parametrize(("value", "grey"), [(0, 0), (65535, 255), (32896, 128)])
def test_sixteen_bits_of_one_value_keep_their_brightness(tmp_path: Path, value: int, grey: int) -> None:
    content = encoded(Image.fromarray(np.full((8, 8), value, dtype=np.uint16)), "PNG")
    assert np.abs(pixels(tmp_path, content) - grey).max() <= 1


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1e30, 1e30), (0.0, 1e-9)])
def test_float_is_scaled_by_its_range_whatever_else_is_in_it(tmp_path: Path, low: float, high: float) -> None:
    values = np.broadcast_to(np.linspace(low, high, 128), (128, 128)).astype(np.float32).copy()
    values[10, 10], values[20, 20], values[30, 30] = np.nan, np.inf, -np.inf
    seen = pixels(tmp_path, encoded(Image.fromarray(values), "TIFF"))[100, :, 0]
    assert np.abs(seen - np.linspace(0, 255, 128)).max() < 6


def test_float_without_one_number_in_it_is_black(tmp_path: Path) -> None:
    content = encoded(Image.fromarray(np.full((8, 8), np.nan, dtype=np.float32)), "TIFF")
    assert pixels(tmp_path, content).max() <= 1


@pytest.mark.parametrize("mode", ["1", "P", "RGB"])
def test_fine_detail_is_averaged_and_not_picked_from(tmp_path: Path, mode: str) -> None:
    chequered = (np.indices((512, 512)).sum(axis=0) % 2 * 255).astype(np.uint8)
    image = Image.fromarray(chequered).convert("RGB").convert(mode, dither=Image.Dither.NONE)
    assert np.abs(pixels(tmp_path, encoded(image, "PNG")) - 127.5).max() < 4


def test_a_thumbnail_that_is_there_is_used_and_one_that_was_cut_short_is_replaced(tmp_path: Path) -> None:
    content = encoded(scene(), "JPEG")
    result = indexed(tmp_path, content)
    path = Path(thumbnail_path(str(tmp_path / "thumbnails"), result.sha256))
    assert path == tmp_path / "thumbnails" / result.sha256[:2] / f"{result.sha256}.jpg"
    whole, inode = path.read_bytes(), path.stat().st_ino
    assert indexed(tmp_path, content) == result
    assert path.stat().st_ino == inode
    for broken in (b"", whole[:500]):
        path.write_bytes(broken)
        assert indexed(tmp_path, content) == result
        assert path.read_bytes() == whole
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_copies_share_a_thumbnail(tmp_path: Path) -> None:
    content = encoded(scene(), "PNG")
    first, second = index(tmp_path, content, content)
    assert isinstance(first, Indexed)
    assert isinstance(second, Indexed)
    assert first.sha256 == second.sha256
    assert sum(1 for path in (tmp_path / "thumbnails").rglob("*") if path.is_file()) == 1


def test_a_disk_that_is_full_is_not_the_file_s_fault(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(scene(), "JPEG"))
    script = f"""
import resource, signal
from apps.pipeline.images.verify import Limits, index_chunk
from apps.pipeline.images.scanning import FoundFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    index_chunk({str(tmp_path)!r}, [FoundFile("a.jpg", 0, 0)], {str(tmp_path / "t")!r}, Limits(10**8))
except OSError as error:
    print(error.strerror)
"""
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "File too large\n"
    assert [path for path in (tmp_path / "t").rglob("*") if path.is_file()] == []


def test_a_folder_for_thumbnails_that_cannot_be_one_raises(tmp_path: Path) -> None:
    (tmp_path / "thumbnails").write_text("in the way")
    with pytest.raises(NotADirectoryError):
        index(tmp_path, encoded(scene(), "JPEG"))
