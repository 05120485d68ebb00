"""Decode JPEGs at the scale that a thumbnail needs, and find those whose picture is damaged.

libjpeg only warns of data that it cannot decode, and fills the rest with grey. simplejpeg tells its first warning.
Nothing of Django is imported: pool processes run this.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from .refusals import Truncated

# What simplejpeg decodes images of a mode to, and the mode of that. Pillow uses four bytes a pixel without a copy.
_COLOURS: Final = {"RGB": ("RGBX", "RGBX"), "L": ("GRAY", "L"), "CMYK": ("CMYK", "CMYK")}

_EXTRANEOUS: Final = re.compile(r"(\d+) extraneous bytes before marker 0x([0-9a-f]{2})")
# Fewer bytes than these that nobody reads, and more of the same few values, are padding.
_PADDING_BYTES: Final = 64
_PADDING_VALUES: Final = 16
# What a download that was never finished leaves in place of data.
_HOLE: Final = b"\0" * 64

# What is odd and yet decoded.
_HARMLESS: Final = re.compile(
    "unknown JFIF revision|Unknown Adobe color transform|Invalid SOS parameters|Inconsistent progression|bad ICC marker"
)
_OVERWRITTEN: Final = "a part of the picture's data is overwritten"
_WORDS: Final = {
    "premature end of data segment": "a part of the picture's data is missing or overwritten",
    "bad Huffman code": _OVERWRITTEN,
    "bad arithmetic code": _OVERWRITTEN,
    "extraneous bytes": _OVERWRITTEN,
}


class Plain(NamedTuple):
    """What the header of a JPEG without metadata says: (width, height) in pixels, and the mode of Pillow's."""

    size: tuple[int, int]
    mode: str


def read_plain(data: bytes) -> Plain | None:
    """Return what the header of a JPEG says that has no metadata but JFIF's. None: Pillow is to read it.

    Pillow takes a tenth of the time for a header that the decoder takes for a small picture.
    """
    found = None
    position = 2
    while position + 10 <= len(data) and data[position] == 0xFF:
        marker, length = struct.unpack_from(">BH", data, position + 1)
        if marker == _SCAN:
            return found
        if marker in _FRAMES and found is None:
            depth, height, width, components = struct.unpack_from(">BHHB", data, position + 4)
            if depth != 8 or not (width and height) or components not in _PLAIN_MODES:
                return None
            found = Plain((width, height), _PLAIN_MODES[components])
        elif marker not in _PLAIN_SEGMENTS:
            return None
        position += 2 + length
    return None


def decode_jpeg(
    data: bytes, mode: str, size: tuple[int, int], *, is_inverted: bool = False
) -> tuple[Image.Image | None, str]:
    """Decode a JPEG, which Pillow opens in ``mode``, to at least ``size`` in pixels.

    ``is_inverted``: inks are stored the other way round. Returns the picture, of mode RGBX, L or CMYK, and what of it
    is damaged: empty if nothing is. There is no picture where Pillow is to decode it. Raises `Truncated`.
    """
    if mode not in _COLOURS:
        return None, ""
    colours, mode = _COLOURS[mode]
    pixels, warning = _decoded(data, colours, size)
    if _EXTRANEOUS.search(warning) and (tidy := _without_gaps(data)) != data:
        # libjpeg tells only its first warning. This one is of the header, and hides what is wrong behind it.
        pixels, warning = _decoded(tidy, colours, size)
    if pixels is None:
        return None, _OVERWRITTEN if _has_header(data) else ""
    damage = _damage(data, warning)
    if colours == "GRAY":
        pixels = pixels[..., 0]
    if is_inverted:
        pixels = 255 - pixels
    return Image.fromarray(pixels, mode), damage


def _decoded(data: bytes, colours: str, size: tuple[int, int]) -> tuple[NDArray[np.uint8] | None, str]:
    """Return the pixels, None if there are none, and the first warning of libjpeg, empty if it had none."""
    lengths = {"min_width": size[0], "min_height": size[1], "min_factor": 1}
    try:
        return simplejpeg.decode_jpeg(data, colours, strict=True, **lengths), ""
    except ValueError as error:
        warning = str(error)
    try:
        return simplejpeg.decode_jpeg(data, colours, strict=False, **lengths), warning
    except ValueError:
        return None, warning


def _has_header(data: bytes) -> bool:
    """Whether the decoder reads the header of a JPEG. If it then refuses the rest, that has markers without a meaning.

    Pillow stops before those, and fills the rest of the picture with grey.
    """
    try:
        simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return False
    return True


def _damage(data: bytes, warning: str) -> str:
    """Return what a warning of libjpeg says of the picture; empty if it is harmless. Raises `Truncated`."""
    if "Premature end of JPEG file" in warning:
        raise Truncated
    if not warning or _HARMLESS.search(warning):
        return _hole(data)
    if not warning.startswith("Corrupt JPEG data"):
        return _OVERWRITTEN  # an error behind a warning: foreign bytes that are markers
    segments = list(_segments(data))
    if (found := _EXTRANEOUS.search(warning)) and _is_padding(data, segments, int(found[1]), int(found[2], 16)):
        return _hole(data)
    # The lengths behind foreign markers may lead over the end.
    if not (data.endswith(_END_BYTES) or (segments and segments[-1].marker == _END)):
        raise Truncated
    return next((words for start, words in _WORDS.items() if start in warning), "its data contradict each other")


class _Segment(NamedTuple):
    """A marker with what belongs to it, from its first byte to the one after its last. A scan's data belong to it."""

    marker: int
    start: int
    end: int


# ITU-T T.81, table B.1.
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BASELINE: Final = frozenset({0xC0, 0xC1})
_TABLES: Final = 0xC4
_RESTARTS: Final = range(0xD0, 0xD8)
_BEGIN: Final = 0xD8
_END: Final = 0xD9
_END_BYTES: Final = b"\xff\xd9"
_SCAN: Final = 0xDA
# Tables, the interval of restarts, comments, the next scan and the end.
_BEHIND_DATA: Final = frozenset({0xC4, 0xDB, 0xDD, 0xFE, _SCAN, _END})
# Tables, the interval of restarts, APP0 (JFIF) and comments.
_PLAIN_SEGMENTS: Final = frozenset({0xC4, 0xDB, 0xDD, 0xE0, 0xFE})
_PLAIN_MODES: Final = {1: "L", 3: "RGB"}
# A marker that ends the data of a scan: neither a stuffed byte, nor a restart, nor a fill byte.
_BEHIND_SCAN: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def _segments(data: bytes) -> Iterator[_Segment]:
    """Yield the segments of a JPEG from its beginning to its end, without what is between them."""
    position = 0
    while (start := data.find(b"\xff", position)) >= 0 and start + 1 < len(data):
        marker = data[start + 1]
        if marker in (_BEGIN, _END):
            yield _Segment(marker, start, start + 2)
            if marker == _END:
                return
            position = start + 2
        elif marker <= 0x01 or marker in _RESTARTS:
            position = start + 2
        elif marker == 0xFF:  # a fill byte
            position = start + 1
        else:
            end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
            if marker == _SCAN:
                behind = _BEHIND_SCAN.search(data, end)
                end = len(data) if behind is None else behind.start()
            yield _Segment(marker, start, end)
            position = end


def _without_gaps(data: bytes) -> bytes:
    """Return a JPEG without the bytes between the segments of its header; ``data`` itself if there are none."""
    parts: list[bytes] = []
    for segment in _segments(data):
        if segment.marker == _SCAN:
            parts.append(data[segment.start :])
            return data if sum(map(len, parts)) == len(data) else b"".join(parts)
        parts.append(data[segment.start : segment.end])
    return data


def _is_padding(data: bytes, segments: Sequence[_Segment], count: int, marker: int) -> bool:
    """Whether bytes that libjpeg skipped before a marker are no part of the picture."""
    if marker not in _BEHIND_DATA:
        # A part of the data between two restarts is left over, because it was read wrongly; or foreign bytes are no
        # marker at all.
        return False
    if count <= _PADDING_BYTES:
        return True
    if marker != _END or not segments or segments[-1].marker != _END:
        return False
    end = segments[-1].start
    return len(set(data[max(0, end - count) : end])) <= _PADDING_VALUES


def _hole(data: bytes) -> str:
    """Say whether zeros stand in place of the data of a baseline JPEG, where its tables give zeros no sense.

    A run of zero bits is an even area where the shortest codes are "no difference" and "end of block". Elsewhere the
    same coefficients would follow each other for ever.
    """
    if _HOLE not in data:
        return ""
    is_baseline, shortest = False, dict[int, int]()
    for segment in _segments(data):
        if segment.marker in _FRAMES:
            is_baseline = segment.marker in _BASELINE
        elif segment.marker == _TABLES:
            shortest |= _shortest_codes(data[segment.start + 4 : segment.end])
        elif segment.marker == _SCAN and is_baseline and any(shortest.values()):
            scan = data[segment.start : segment.end].rstrip(b"\0")  # zeros at its end are padding
            if _HOLE in scan:
                return "a part of the picture's data is missing"
    return ""


def _shortest_codes(tables: bytes) -> dict[int, int]:
    """Return the symbol whose code is all zeros, by table (T.81, B.2.4.2)."""
    found = {}
    while len(tables) > 17:
        found[tables[0]] = tables[17]
        tables = tables[17 + sum(tables[1:17]) :]
    return found
