"""The size of a JPEG XL, from its header. Its plugin decodes the whole image before it tells the size.

Nothing of Django is imported: pool processes run this.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

_SIGNATURE: Final = b"\xff\x0a"
# ISO/IEC 18181-1, D.2 (SizeHeader): the width as a share of the height, by the 3 bits `ratio`.
_RATIOS: Final = (None, Fraction(1), Fraction(12, 10), Fraction(4, 3), Fraction(3, 2), Fraction(16, 9), Fraction(5, 4),
                  Fraction(2))  # fmt: skip
# The numbers of bits of a U32, by the 2 bits before it.
_WIDTHS: Final = (9, 13, 18, 30)
_HEADER_BYTES: Final = 12


def jxl_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) in pixels. Raises `ValueError` if ``data`` has no such header."""
    start = 0 if data.startswith(_SIGNATURE) else _codestream(data)
    header = data[start : start + _HEADER_BYTES]
    if not header.startswith(_SIGNATURE):
        raise ValueError("no header of a JPEG XL")
    bits = _Bits(int.from_bytes(header[2:], "little"))
    is_small = bits.take(1)
    height = bits.size(is_small)
    ratio = _RATIOS[bits.take(3)]
    width = bits.size(is_small) if ratio is None else int(height * ratio)
    return width, height


class _Bits:
    """Bits that are read from the lowest on."""

    def __init__(self, value: int) -> None:
        self._value = value

    def take(self, count: int) -> int:
        taken = self._value & ((1 << count) - 1)
        self._value >>= count
        return taken

    def size(self, is_small: int) -> int:
        return 8 * (self.take(5) + 1) if is_small else self.take(_WIDTHS[self.take(2)]) + 1


def _codestream(data: bytes) -> int:
    """Return where the codestream begins in a file of boxes (ISO/IEC 18181-2). Raises `ValueError`."""
    position = 0
    while position + 8 <= len(data):
        size, kind, header = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8], 8
        if size == 1:
            size, header = int.from_bytes(data[position + 8 : position + 16], "big"), 16
        if kind == b"jxlc":
            return position + header
        if kind == b"jxlp":
            return position + header + 4  # its index comes first
        if size < header:
            break
        position += size
    raise ValueError("no codestream of a JPEG XL")
