"""Files that tests make byte by byte: chunks of PNG, TIFFs of any values, JPEGs with holes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .indexing import encoded

PNG_HEADER_END = 33


def rough(width: int = 640, height: int = 480, seed: int = 0) -> Image.Image:
    """An image with grain, so that its file is long enough for a hole."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = np.stack([127 + 100 * np.sin(x / 40), 127 + 100 * np.sin(y / 30), 127 + 90 * np.sin((x + y) / 50)], -1)
    return Image.fromarray((waves + random.normal(0, 6, waves.shape)).clip(0, 255).astype(np.uint8))


def png_chunk(kind: bytes, body: bytes, checksum: int | None = None) -> bytes:
    if checksum is None:
        checksum = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def with_chunk(png: bytes, chunk: bytes) -> bytes:
    """Put a chunk behind the header of a PNG."""
    return png[:PNG_HEADER_END] + chunk + png[PNG_HEADER_END:]


def raw_png(width: int, depth: int, colour: int, rows: Sequence[bytes], *chunks: bytes) -> bytes:
    """Make a PNG of rows of unfiltered samples."""
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [png_chunk(b"IHDR", header), *chunks, png_chunk(b"IDAT", body), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


# SampleFormat of TIFF 6.0 and its supplements, by the kind of a NumPy type.
_SAMPLE_FORMATS = {"u": 1, "i": 2, "f": 3, "c": 6}


def tiff(
    values: NDArray[np.generic], photometric: int = 1, *, compression: int = 1, data: bytes | None = None,
    extra: Sequence[tuple[int, int]] = (),
) -> bytes:  # fmt: skip
    """Make a little-endian TIFF of one strip. ``values``: (height, width) or (height, width, bands).

    ``data``: the strip, if it is not the values as they are. ``extra``: tags of one short value.
    """
    height, width = values.shape[:2]
    bands = values.shape[2] if values.ndim == 3 else 1
    strip = values.tobytes() if data is None else data
    bits, kind = values.dtype.itemsize * 8, _SAMPLE_FORMATS[values.dtype.kind]
    body = strip + b"\0" * (len(strip) % 2)
    arrays = struct.pack(f"<{bands}H", *[bits] * bands) + struct.pack(f"<{bands}H", *[kind] * bands)
    at = 8 + len(body)

    def short(tag: int, value: int) -> bytes:
        return struct.pack("<HHIHH", tag, 3, 1, value, 0)

    def shorts(tag: int, value: int, position: int) -> bytes:
        if bands <= 2:
            return struct.pack("<HHI", tag, 3, bands) + struct.pack("<HH", *([value] * bands + [0])[:2])
        return struct.pack("<HHII", tag, 3, bands, position)

    entries = {
        256: short(256, width), 257: short(257, height), 258: shorts(258, bits, at), 259: short(259, compression),
        262: short(262, photometric), 273: struct.pack("<HHII", 273, 4, 1, 8), 277: short(277, bands),
        278: short(278, height), 279: struct.pack("<HHII", 279, 4, 1, len(strip)),
        339: shorts(339, kind, at + 2 * bands), **{tag: short(tag, value) for tag, value in extra},
    }  # fmt: skip
    directory = struct.pack("<H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)) + b"\0" * 4
    return b"II*\0" + struct.pack("<I", at + len(arrays)) + body + arrays + directory


def with_hole(jpeg: bytes, count: int, fill: bytes = b"\0") -> bytes:
    """Overwrite ``count`` bytes in the middle."""
    middle = len(jpeg) // 2
    return jpeg[:middle] + (fill * count)[:count] + jpeg[middle + count :]


def jpeg(seed: int = 0, **options: object) -> bytes:
    return encoded(rough(seed=seed), "JPEG", quality=90, **options)
