"""JPEGs whose profile is a table: of inks, and of XYB, which stores other things than red, green and blue."""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from .indexing import encoded, expected, pixels, scene

Values = NDArray[np.float64]


def lut_profile(space: bytes, channels: int, colours: Callable[[Values], Values], steps: int) -> bytes:
    """Make an ICC profile (ICC.1:2001) with a table of ``steps`` values a channel.

    ``colours`` turns (n, channels) of 0..1 into sRGB of 0..255.
    """
    nodes = np.array(list(product(np.linspace(0, 1, steps), repeat=channels)))
    rgb = Image.fromarray(colours(nodes).round().clip(0, 255).astype(np.uint8)[None])
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = np.asarray(to_lab.apply(rgb))[0].astype(np.float64)
    lightness, signed = lab[:, :1] / 255 * 0xFF00, (lab[:, 1:].astype(np.uint8).view(np.int8) + 128.0) * 256
    table = np.hstack([lightness, signed]).round().astype(">u2").tobytes()
    line = struct.pack(">HH", 0, 0xFFFF)
    identity = b"".join(struct.pack(">i", 65536 * (place % 4 == 0)) for place in range(9))
    lut = b"mft2\0\0\0\0" + bytes((channels, 3, steps, 0)) + identity + struct.pack(">HH", 2, 2)
    lut += line * channels + table + line * 3
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    tags = {b"A2B0": lut, b"wtpt": white, b"cprt": b"text\0\0\0\0none\0\0\0\0"}
    body, index = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += b"\0" * (-len(content) % 4)
        index += name + struct.pack(">II", start + len(body), len(content))
        body += content
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"lcms", 0x02400000, b"prtr", space, b"Lab ")
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(24) + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + index + body


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_channels_that_are_not_red_green_and_blue(tmp_path: Path, subsampling: str) -> None:
    icc = lut_profile(b"RGB ", 3, lambda stored: 255 - 255 * stored[:, [1, 2, 0]], steps=17)
    stored = 255 - np.asarray(scene())[..., [2, 0, 1]]
    raw = encoded(Image.fromarray(stored, "YCbCr"), "JPEG", quality=95, subsampling=subsampling, icc_profile=icc)
    assert raw[2:4] == b"\xff\xe0"
    without_jfif = raw[4 + int.from_bytes(raw[4:6], "big") :]
    # Adobe's segment says that the channels are no brightness and colour differences.
    content = b"\xff\xd8\xff\xee\x00\x0eAdobe\0d\0\0\0\0\0" + without_jfif
    assert np.abs(pixels(tmp_path, content) - expected(scene(), (256, 192))).mean() < 5


def test_inks_are_converted_as_their_profile_says(tmp_path: Path) -> None:
    # An ink of this press absorbs half of what it should.
    icc = lut_profile(b"CMYK", 4, lambda ink: 255 * (1 - ink[:, :3] / 2) * (1 - ink[:, 3:] / 2), steps=9)
    soft = scene().point(lambda value: 128 + value // 2)
    inks = np.zeros((300, 400, 4), np.uint8)
    inks[..., :3] = (255 - np.asarray(soft)) * 2
    content = encoded(Image.fromarray(inks, "CMYK"), "JPEG", quality=95, icc_profile=icc)
    assert np.abs(pixels(tmp_path, content) - expected(soft, (256, 192))).mean() < 8
