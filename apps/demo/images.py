"""Generate a folder of images with every difficulty that real folders have: formats, sizes, duplicates, damage."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageEnhance

from .nature import Painter, Size, landscape, night_sky, stone
from .shapes import colour_study, fractal, pattern, plant

_MARKER = ".complete"

_SIZES: tuple[Size, ...] = ((800, 600), (800, 534), (800, 600), (600, 800), (720, 720), (800, 600), (960, 540))

_ALBUMS: tuple[tuple[str, Painter, int], ...] = (
    ("landscapes", landscape, 5),
    ("night-sky", night_sky, 3),
    ("plants", plant, 4),
    ("patterns", pattern, 5),
    ("fractals", fractal, 2),
    ("colour-studies", colour_study, 3),
    ("stone", stone, 2),
)
"""Folder, painter, and the number of its pictures in each round."""

_STORED_TURNED = {
    3: Image.Transpose.ROTATE_180,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}
"""The operation that turns an upright picture into the stored one, for each value of the EXIF tag Orientation."""


class _File(NamedTuple):
    path: str
    make: Callable[[Generator], bytes]


def make_demo_images(folder: Path, count: int = 300, seed: int = 7) -> None:
    """Write `count` images and three broken files into subfolders of `folder`.

    The first 44 are the difficult ones (rotated by EXIF, CMYK, transparent, 16 bits, tiny, large, near-duplicates and
    so on), so a small `count` includes them. The same arguments give the same bytes, with the same Pillow and numpy.

    A folder that was completed once is not touched again, even if files were deleted from it. In an incomplete one,
    the missing files are written. Files are written whole or not at all. Raises `OSError` if they cannot be written.
    """
    if has_demo_images(folder, count, seed):
        return
    files = [*_formats(), *_look_alikes(seed)]
    files = [*files, *_albums(max(0, count - len(files)))][:count]
    # A file's seed is its number, so the first files do not depend on `count`.
    for index, file in enumerate([*_broken(), *files]):
        path = folder / file.path
        if not path.exists():
            _write(path, file.make(np.random.default_rng([seed, index])))
    _write(folder / _MARKER, _complete(count, seed))


def has_demo_images(folder: Path, count: int = 300, seed: int = 7) -> bool:
    """Return whether `make_demo_images` completed the folder with the same arguments."""
    marker = folder / _MARKER
    return marker.is_file() and marker.read_bytes() == _complete(count, seed)


def _complete(count: int, seed: int) -> bytes:
    return f"{count} images, seed {seed}\n".encode()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Always the same name, so that the remains of an interrupted run are overwritten.
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    part.replace(path)


def _encoded(image: Image.Image, suffix: str, **options: object) -> bytes:
    stream = io.BytesIO()
    if suffix == "jpg":
        image.save(stream, "JPEG", **{"quality": 88, **options})
    elif suffix == "webp":
        image.save(stream, "WEBP", **{"quality": 84, "method": 2, **options})
    else:
        image.save(stream, {"png": "PNG", "gif": "GIF", "bmp": "BMP", "tif": "TIFF"}[suffix], **options)
    return stream.getvalue()


def _albums(count: int) -> list[_File]:
    files: list[_File] = []
    rounds = [(album, painter) for album, painter, times in _ALBUMS for _ in range(times)]
    numbers = dict.fromkeys((album for album, _, _ in _ALBUMS), 0)
    for index in range(count):
        album, painter = rounds[index % len(rounds)]
        numbers[album] += 1
        # PNG for flat colours, where it is small; for the rest many JPEG and a few WebP, as in real folders.
        suffix = "png" if album == "patterns" and numbers[album] % 2 else "webp" if numbers[album] % 6 == 0 else "jpg"
        size = _SIZES[(index * 5 + index // len(rounds)) % len(_SIZES)]
        files.append(_File(f"{album}/{album}-{numbers[album]:03d}.{suffix}", _painting(painter, size, suffix)))
    return files


def _painting(painter: Painter, size: Size, suffix: str) -> Callable[[Generator], bytes]:
    return lambda rng: _encoded(painter(rng, size), suffix)


def _formats() -> list[_File]:
    """Return the files that a careless reader of images gets wrong."""
    files = [_turned(orientation) for orientation in _STORED_TURNED]
    for suffix, mode in (("jpg", "CMYK"), ("jpg", "L"), ("png", "1"), ("png", "P"), ("tif", "CMYK"), ("bmp", "RGB")):
        name = {"L": "grey", "1": "black-and-white", "P": "palette", "RGB": "bitmap", "CMYK": "print"}[mode]
        files.append(_File(f"formats/{name}.{suffix}", _converted(mode, suffix)))
    files += [
        _File("formats/transparent.png", lambda rng: _encoded(_vignette(rng), "png")),
        _File("formats/transparent.webp", lambda rng: _encoded(_vignette(rng), "webp")),
        _File("formats/transparent-palette.png", lambda rng: _encoded(_vignette(rng).quantize(64), "png")),
        _File("formats/animated.gif", _animation),
        _File("formats/sixteen-bits.png", _sixteen_bits),
        _File("formats/déjà vu ☕.jpg", lambda rng: _encoded(plant(rng, (800, 600)), "jpg", progressive=True)),
        _File("large/twelve-megapixels.jpg", _enlarged(landscape, (1000, 750), 4)),
        _File("large/panorama.jpg", _enlarged(landscape, (1600, 300), 4)),
        _File("large/tower.jpg", _enlarged(stone, (200, 1600), 2)),
    ]
    for size in ((1, 1), (2, 3), (5, 5), (8, 8), (16, 16)):
        files.append(_File(f"tiny/{size[0]}x{size[1]}.png", _reduced(size)))
    return files


def _turned(orientation: int) -> _File:
    def make(rng: Generator) -> bytes:
        exif = Image.Exif()
        exif[0x0112] = orientation
        return _encoded(landscape(rng, (800, 600)).transpose(_STORED_TURNED[orientation]), "jpg", exif=exif)

    return _File(f"formats/turned-by-exif-{orientation}.jpg", make)


def _converted(mode: str, suffix: str) -> Callable[[Generator], bytes]:
    size = (400, 300) if suffix in ("tif", "bmp") else (800, 600)
    return lambda rng: _encoded(landscape(rng, size).convert(mode), suffix)


def _enlarged(painter: Painter, size: Size, times: int) -> Callable[[Generator], bytes]:
    large = (size[0] * times, size[1] * times)
    return lambda rng: _encoded(painter(rng, size).resize(large, Image.Resampling.BICUBIC), "jpg", quality=82)


def _reduced(size: Size) -> Callable[[Generator], bytes]:
    return lambda rng: _encoded(colour_study(rng, (256, 256)).resize(size, Image.Resampling.BOX), "png")


def _vignette(rng: Generator) -> Image.Image:
    """Return a picture that fades into transparency towards its edges."""
    image = pattern(rng, (600, 600))
    mask = Image.new("L", (150, 150))
    ImageDraw.Draw(mask).ellipse((18, 18, 132, 132), fill=255)
    image.putalpha(mask.resize((20, 20), Image.Resampling.BOX).resize(image.size, Image.Resampling.BICUBIC))
    return image


def _animation(rng: Generator) -> bytes:
    image = fractal(rng, (320, 240)).quantize(64)
    frames = [image.rotate(angle) for angle in range(0, 360, 45)]
    return _encoded(frames[0], "gif", save_all=True, append_images=frames[1:], duration=120, loop=0)


def _sixteen_bits(rng: Generator) -> bytes:
    """Return a grey PNG of 16 bits of which only 12 are used, as many sensors write them."""
    grey = np.asarray(night_sky(rng, (800, 600)).convert("L")).astype(np.uint16)
    return _encoded(Image.fromarray(grey * np.uint16(16)), "png")


def _look_alikes(seed: int) -> list[_File]:
    """Return groups of four: a picture, and three versions of it as copies in the wild have them."""
    versions: tuple[tuple[str, Callable[[Image.Image], bytes]], ...] = (
        ("original.jpg", lambda image: _encoded(image, "jpg", quality=92)),
        ("recompressed.jpg", lambda image: _encoded(image.resize((640, 480)), "jpg", quality=40)),
        ("cropped.jpg", lambda image: _encoded(image.crop((24, 18, 784, 588)), "jpg")),
        ("brighter.webp", lambda image: _encoded(ImageEnhance.Brightness(image).enhance(1.18), "webp")),
    )
    subjects: tuple[tuple[str, Painter], ...] = (
        ("ridge", landscape),
        ("aurora", night_sky),
        ("bloom", plant),
        ("tiles", pattern),
        ("agate", stone),
    )
    return [
        _File(f"look-alikes/{name}-{version}", _version(painter, [seed, 1000, number], derive))
        for number, (name, painter) in enumerate(subjects)
        for version, derive in versions
    ]


def _version(
    painter: Painter, seeds: list[int], derive: Callable[[Image.Image], bytes]
) -> Callable[[Generator], bytes]:
    # Not the file's generator: the four files of a group show the same picture.
    return lambda _: derive(painter(np.random.default_rng(seeds), (800, 600)))


def _broken() -> list[_File]:
    """Return the three files that indexing must reject."""
    return [
        _File(
            "broken/cut-short.jpg",
            lambda rng: (whole := _encoded(landscape(rng, (800, 600)), "jpg"))[: len(whole) // 2],
        ),
        _File("broken/notes.jpg", lambda _: b"Shopping list, not a photograph: bread, apples, film for the camera.\n"),
        _File("broken/nothing.png", lambda _: b""),
    ]
