"""What indexing says of good and bad files."""

from __future__ import annotations

import hashlib
import io
import os
import resource
import struct
import subprocess
import sys
import tempfile
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apps.pipeline.images.scanning import LEAVES, FoundFile
from apps.pipeline.images.verify import Indexed, Limits, Rejected, index_chunk
from tests.repository import ROOT

from .indexing import (
    FORMATS,
    MAX_PIXELS,
    MTIME_NS,
    encoded,
    expected,
    hanging_is_failing,
    index,
    indexed,
    pixels,
    rejected,
    scene,
    thumbnail,
)


@pytest.mark.parametrize("format_", FORMATS)
def test_a_good_file_is_described(tmp_path: Path, format_: str) -> None:
    content = encoded(scene(), format_)
    result = indexed(tmp_path, content)
    assert result == Indexed(
        path="0",
        size=len(content),
        mtime_ns=MTIME_NS,
        sha256=hashlib.sha256(content).hexdigest(),
        format=format_,
        width=400,
        height=300,
        thumbnail_width=256,
        thumbnail_height=192,
    )
    difference = pixels(tmp_path, content) - expected(scene(), (256, 192))
    assert np.abs(difference).mean() < (12 if format_ == "GIF" else 4)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(tmp_path: Path, format_: str, orientation: int) -> None:
    stored = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = scene() if stored is None else scene().transpose(stored)
    content = encoded(picture, format_, exif=exif)
    result = indexed(tmp_path, content)
    assert (result.width, result.height) == (400, 300)
    assert np.abs(pixels(tmp_path, content) - expected(scene(), (256, 192))).mean() < 4
    # The second time the thumbnail is there, and the header alone has to say the same.
    assert indexed(tmp_path, content) == result


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_ignored(tmp_path: Path, value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    assert indexed(tmp_path, encoded(scene(), "JPEG", exif=exif)).width == 400


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "garbage", [b"Exif\0\0garbage!", b"Exif\0\0II*\0", b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xfe" * 50]
)
def test_garbage_in_the_metadata_says_nothing_against_the_picture(tmp_path: Path, format_: str, garbage: bytes) -> None:
    assert indexed(tmp_path, encoded(scene(), format_, exif=garbage)).width == 400


def test_a_comment_is_not_taken_into_the_thumbnail(tmp_path: Path) -> None:
    content = encoded(scene(), "JPEG", comment=b"c" * 60_000)
    assert "comment" not in thumbnail(tmp_path, content).info


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path, format_: str) -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ((250, 10, 10), (10, 250, 10))]
    content = encoded(frames[0], format_, save_all=True, append_images=frames[1:])
    result = indexed(tmp_path, content)
    assert (result.format, result.width, result.height) == (format_, 40, 30)
    assert np.abs(pixels(tmp_path, content) - (250, 10, 10)).max() < 20


def test_several_pictures_in_one_jpeg_are_a_jpeg(tmp_path: Path) -> None:
    content = encoded(scene(), "MPO", save_all=True, append_images=[scene(200, 100)])
    assert Image.open(io.BytesIO(content)).format == "MPO"
    result = indexed(tmp_path, content)
    assert (result.format, result.width) == ("JPEG", 400)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"restart_marker_rows": 1}], ids=["plain", "progressive", "restarts"]
)
def test_a_truncated_jpeg_is_refused_though_it_is_decoded_reduced(
    tmp_path: Path, options: dict[str, object], share: float
) -> None:
    rough = Image.effect_noise((800, 600), 80).convert("RGB")
    content = encoded(rough, "JPEG", **options)
    assert rejected(tmp_path, content[: int(len(content) * share)]) == "truncated"


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_truncated_file_is_refused(tmp_path: Path, format_: str, share: float) -> None:
    rough = Image.effect_noise((200, 150), 80).convert("RGB")
    content = encoded(rough, format_)
    assert rejected(tmp_path, content[: int(len(content) * share)]) == "truncated"


@pytest.mark.parametrize("format_", FORMATS)
def test_no_cut_and_no_flipped_byte_gets_an_exception_out(tmp_path: Path, format_: str) -> None:
    rng = np.random.default_rng(1)
    content = encoded(scene(90, 70), format_)
    contents = [content[:cut] for cut in rng.integers(1, len(content), 30)]
    for _ in range(30):
        damaged = bytearray(content)
        for at in rng.integers(0, len(content), 5):
            damaged[at] = int(rng.integers(256))
        contents.append(bytes(damaged))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = index(tmp_path, *contents)
    assert [result.path for result in results] == [str(number) for number in range(60)]
    for result in results:
        if isinstance(result, Rejected):
            assert 0 < len(result.reason) < 130
            assert "\n" not in result.reason


def test_what_is_no_image(tmp_path: Path) -> None:
    assert rejected(tmp_path, b"Dear diary,\n") == "text, not an image"
    assert rejected(tmp_path, b"\x9c\x01\x02\xff\xfe") == "not an image"
    assert rejected(tmp_path, b"") == "empty file"
    # Formats that are not taken are not opened, whatever Pillow could do with them.
    assert rejected(tmp_path, encoded(scene(), "PCX")) == "not an image"
    assert rejected(tmp_path, encoded(scene(), "DDS")) == "a DDS texture: not supported here"
    assert rejected(tmp_path, encoded(scene(), "PNG")[:20]) == "truncated"


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


def test_too_many_pixels_are_refused_by_the_header_alone(tmp_path: Path) -> None:
    # There is nothing behind this header: decoding would have said "truncated".
    content = png_header(40_000, 40_000) + struct.pack(">I", 4) + b"IDAT" + b"\0" * 8
    assert rejected(tmp_path, content) == "too large: 40000 × 40000 pixels, the limit is 20,000,000 (MAX_IMAGE_PIXELS)"


@pytest.mark.parametrize("format_", FORMATS)
def test_one_pixel_over_the_limit_is_refused_and_the_limit_itself_is_not(tmp_path: Path, format_: str) -> None:
    content = encoded(scene(40, 30), format_)
    # Up to twice its limit, Pillow only warns.
    assert (
        rejected(tmp_path, content, max_pixels=1199)
        == "too large: 40 × 30 pixels, the limit is 1,199 (MAX_IMAGE_PIXELS)"
    )
    assert rejected(tmp_path, content, max_pixels=10) == "too large: 40 × 30 pixels, the limit is 10 (MAX_IMAGE_PIXELS)"
    (result,) = index(tmp_path, content, max_pixels=1200)
    assert isinstance(result, Indexed)


def test_the_limit_holds_for_a_gif_s_frames_and_is_pillow_s_again_afterwards(tmp_path: Path) -> None:
    before = Image.MAX_IMAGE_PIXELS
    content = bytearray(encoded(Image.new("P", (8, 8)), "GIF"))
    frame = content.index(b",", 13)
    struct.pack_into("<HH", content, frame + 5, 60_000, 60_000)
    limit = "60000 × 60000 pixels, the limit is 20,000,000 (MAX_IMAGE_PIXELS)"
    assert rejected(tmp_path, bytes(content)) == f"too large: a frame of {limit}"
    struct.pack_into("<HH", content, 6, 60_000, 60_000)
    assert rejected(tmp_path, bytes(content)) == f"too large: {limit}"
    assert before == Image.MAX_IMAGE_PIXELS


def test_a_file_beyond_the_limit_of_bytes_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "huge.tif").touch()
    os.truncate(tmp_path / "huge.tif", 10**9 + 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limits = Limits(MAX_PIXELS, max_bytes=10**9)
    (result,) = index_chunk(str(tmp_path), [FoundFile("huge.tif", 1, 0)], str(tmp_path / "t"), limits)
    reason = "too large: 1,000,000,001 bytes, the limit is 1,000,000,000 (MAX_IMAGE_BYTES)"
    assert result == Rejected("huge.tif", reason)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_an_image_that_memory_does_not_suffice_for_is_refused(tmp_path: Path) -> None:
    (tmp_path / "wide.png").write_bytes(encoded(Image.new("L", (6000, 6000)), "PNG", compress_level=1))
    (tmp_path / "small.png").write_bytes(encoded(scene(), "PNG"))
    script = f"""
import resource
from apps.pipeline.images.verify import Limits, index_chunk
from apps.pipeline.images.scanning import FoundFile
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 24_000_000,) * 2)
files = [FoundFile("wide.png", 0, 0), FoundFile("small.png", 0, 0)]
for result in index_chunk({str(tmp_path)!r}, files, {str(tmp_path / "t")!r}, Limits(10**8)):
    print(type(result).__name__, getattr(result, "reason", ""))
"""
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["Rejected too large for the memory there is", "Indexed "]


def test_one_bad_file_is_one_bad_file(tmp_path: Path) -> None:
    good = encoded(scene(), "JPEG")
    results = index(tmp_path, b"text", good, b"", good[:999], encoded(scene(), "PNG"))
    assert [type(result) for result in results] == [Rejected, Indexed, Rejected, Rejected, Indexed]
    assert [result.path for result in results] == ["0", "1", "2", "3", "4"]


def test_what_became_of_a_file_since_the_scan(tmp_path: Path) -> None:
    root = tmp_path / "images"
    root.mkdir()
    (tmp_path / "outside.jpg").write_bytes(encoded(scene(), "JPEG"))
    (root / "link.jpg").symlink_to("../outside.jpg")
    os.mkfifo(root / "pipe.jpg")
    (root / "folder.jpg").mkdir()
    (root / "circle.jpg").symlink_to("circle.jpg")
    names = ["gone.jpg", "link.jpg", "pipe.jpg", "folder.jpg", "../outside.jpg", "folder.jpg/a.jpg", "circle.jpg"]
    files = [FoundFile(name, 1, 1) for name in names]
    with hanging_is_failing():
        results = index_chunk(str(root), files, str(tmp_path / "t"), Limits(MAX_PIXELS))
    outside = LEAVES
    assert [result.reason for result in results if isinstance(result, Rejected)][:6] == [
        "vanished before it was read",
        outside,
        "not a regular file",
        "not a regular file",
        outside,
        "vanished before it was read",
    ]
    assert isinstance(results[6], Rejected)


def test_a_file_that_may_not_be_read_is_refused() -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        file = Path(name, "secret.jpg")
        file.write_bytes(encoded(scene(), "JPEG"))
        file.chmod(0)
        # Root may read everything, so the test has to be someone else for a moment.
        as_root = os.geteuid() == 0
        if as_root:
            os.seteuid(65534)
        try:
            results = index_chunk(name, [FoundFile("secret.jpg", 1, 1)], f"{name}/t", Limits(MAX_PIXELS))
        finally:
            if as_root:
                os.seteuid(0)
    assert results == [Rejected("secret.jpg", "permission denied")]
