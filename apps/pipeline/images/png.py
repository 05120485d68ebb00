"""Read the chunks of a PNG: what says nothing of the picture is left out, and checksums are compared.

Nothing of Django is imported: pool processes run this.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
# The chunks that a picture needs (PNG, 3rd edition, 11). An animation is left out: its first frame is the picture.
_CRITICAL: Final = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_USED: Final = frozenset({*_CRITICAL, b"tRNS", b"iCCP", b"eXIf"})
# Beyond that, a profile or EXIF is left out.
_MOST_METADATA: Final = 1 << 20

GREY: Final = 0
RGB: Final = 2
GREY_ALPHA: Final = 4
RGBA: Final = 6


class Png(NamedTuple):
    """A PNG with the chunks of its picture alone. ``depth`` is in bits, ``colour`` one of the colour types."""

    data: bytes
    depth: int
    colour: int
    is_transparent: bool
    damage: str


def read_png(data: bytes) -> Png:
    """Return a PNG without text, broken metadata and animation; ``data`` itself where it has nothing of that.

    ``damage`` says whether the picture's own chunks do not match their checksums.
    """
    kept: list[tuple[int, int]] = []
    damage, is_transparent, is_whole = "", False, True
    for kind, start, end, is_intact in _chunks(data):
        body = data[start + 8 : min(end - 4, start + 8 + _MOST_METADATA + 1)] if kind == b"iCCP" else b""
        if kind in _CRITICAL:
            if not is_intact:
                damage = f"the checksum of its {kind.decode()} is wrong"
        elif kind not in _USED or not is_intact or end - start > _MOST_METADATA or (body and not _is_profile(body)):
            is_whole = False
            continue
        is_transparent |= kind == b"tRNS"
        # Pillow compares checksums itself, and refuses the file: damage is to be shown as far as it goes.
        is_whole &= is_intact
        kept.append((start, end))
    depth, colour = (data[24], data[25]) if len(data) > 25 else (0, 0)
    return Png(data if is_whole else _joined(data, kept), depth, colour, is_transparent, damage)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int, bool]]:
    """Yield each chunk: its type, where it starts and ends, and whether its checksum is right. A cut one ends it."""
    view = memoryview(data)
    position = len(_SIGNATURE)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            # Pillow says that it is truncated.
            yield kind, position, len(data), kind in _CRITICAL
            return
        checksum = int.from_bytes(view[end - 4 : end], "big")
        yield kind, position, end, zlib.crc32(view[position + 4 : end - 4]) == checksum
        if kind == b"IEND":
            return
        position = end


def _joined(data: bytes, kept: list[tuple[int, int]]) -> bytes:
    """Return a PNG of some of its chunks, with checksums that are right."""
    parts: list[bytes | memoryview] = [_SIGNATURE]
    view = memoryview(data)
    for start, end in kept:
        length = int.from_bytes(view[start : start + 4], "big")
        if start + 12 + length != end:
            parts.append(view[start:end])
            continue
        checksum = zlib.crc32(view[start + 4 : end - 4])
        parts += [view[start : end - 4], checksum.to_bytes(4, "big")]
    return b"".join(parts)


def _is_profile(body: bytes) -> bool:
    """Whether a chunk iCCP holds a profile that can be unpacked and is of a bearable size."""
    _, separator, packed = body.partition(b"\0")
    if not separator or packed[:1] != b"\0":  # the one method of compression there is
        return False
    unpacking = zlib.decompressobj()
    try:
        unpacking.decompress(packed[1:], _MOST_METADATA)
    except zlib.error:
        return False
    return unpacking.eof
