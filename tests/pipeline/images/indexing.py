"""Files given as bytes, indexed; and what their thumbnails show."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apps.pipeline.images.scanning import FoundFile
from apps.pipeline.images.thumbnails import thumbnail_path
from apps.pipeline.images.verify import Indexed, Limits, Rejected, index_chunk

MAX_PIXELS = 20_000_000
MTIME_NS = 1_234_567_890_123_456_789
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM"]


@contextmanager
def hanging_is_failing(seconds: int = 30) -> Iterator[None]:
    """Opening a pipe can wait for ever; a test in which that happens is to fail instead."""

    def fail(*_: object) -> None:
        raise TimeoutError("hangs")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def scene(width: int = 400, height: int = 300) -> Image.Image:
    """A gradient in two directions, on which every turn and every clipping shows."""
    y, x = np.mgrid[0 : 255 : height * 1j, 0 : 255 : width * 1j]
    return Image.fromarray(np.stack([x, y, 255 - x], axis=-1).astype(np.uint8))


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format_, **options)
    return stream.getvalue()


def index(tmp_path: Path, *contents: bytes, max_pixels: int = MAX_PIXELS) -> list[Indexed | Rejected]:
    root = tmp_path / "images"
    root.mkdir(exist_ok=True)
    files = []
    for number, content in enumerate(contents):
        (root / f"{number}").write_bytes(content)
        os.utime(root / f"{number}", ns=(0, MTIME_NS))
        files.append(FoundFile(f"{number}", len(content), 0))
    return index_chunk(str(root), files, str(tmp_path / "thumbnails"), Limits(max_pixels))


def indexed(tmp_path: Path, content: bytes) -> Indexed:
    (result,) = index(tmp_path, content)
    assert isinstance(result, Indexed), result
    return result


def rejected(tmp_path: Path, content: bytes, max_pixels: int = MAX_PIXELS) -> str:
    (result,) = index(tmp_path, content, max_pixels=max_pixels)
    assert isinstance(result, Rejected), result
    return result.reason


def thumbnail(tmp_path: Path, content: bytes) -> Image.Image:
    result = indexed(tmp_path, content)
    image = Image.open(thumbnail_path(str(tmp_path / "thumbnails"), result.sha256))
    assert (image.format, image.mode) == ("JPEG", "RGB")
    assert image.size == (result.thumbnail_width, result.thumbnail_height)
    return image


def pixels(tmp_path: Path, content: bytes) -> NDArray[np.float64]:
    return np.asarray(thumbnail(tmp_path, content), dtype=np.float64)


def expected(image: Image.Image, size: tuple[int, int]) -> NDArray[np.float64]:
    return np.asarray(image.convert("RGB").resize(size), dtype=np.float64)
