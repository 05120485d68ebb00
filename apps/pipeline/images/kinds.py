"""What kind of file some content is, by its first bytes. Only TGA has no mark there: its name or its end decides.

Nothing of Django is imported: pool processes run this.
"""

from __future__ import annotations

import struct
from pathlib import PurePosixPath
from typing import Final

HEAD_BYTES: Final = 512
"""The number of bytes from the start of a file that the functions of this module need."""

NAMES: Final = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".mpo": "JPEG", ".png": "PNG", ".apng": "PNG",
    ".webp": "WEBP", ".gif": "GIF", ".bmp": "BMP", ".dib": "BMP", ".tif": "TIFF", ".tiff": "TIFF", ".avif": "AVIF",
    ".heic": "HEIF", ".heif": "HEIF", ".hif": "HEIF", ".jp2": "JPEG2000", ".j2k": "JPEG2000", ".jpx": "JPEG2000",
    ".j2c": "JPEG2000", ".jpf": "JPEG2000", ".ppm": "PPM", ".pgm": "PPM", ".pbm": "PPM", ".pnm": "PPM", ".pfm": "PPM",
    ".tga": "TGA", ".ico": "ICO", ".jxl": "JXL",
}  # fmt: skip
"""The endings of the names of images, and the format that each stands for."""

_MARKS: Final = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),  # BigTIFF
    (b"MM\x00+", "TIFF"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51\x00", "JPEG2000"),
    (b"\xff\x0a", "JXL"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JXL"),
)
# The sizes of a BMP's second header. The mark BM alone would match the text "BMW prices".
_BMP_HEADER_SIZES: Final = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
# ISO/IEC 23008-12, annex B: the brands of still images and of image sequences.
_HEIF_BRANDS: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})

# Palette, colour and grey, each plain or run-length encoded.
_TARGA_TYPES: Final = frozenset({1, 2, 3, 9, 10, 11})
# What files of version 2 of the format end with.
_TARGA_END: Final = b"TRUEVISION-XFILE.\x00"

# Images that are not taken, and what else is found under the names of images.
_OTHERS: Final = (
    (b"8BPS", "a Photoshop file (PSD): not supported here"),
    (b"\x76\x2f\x31\x01", "OpenEXR: not supported here"),
    (b"#?RADIANCE", "Radiance HDR: not supported here"),
    (b"DDS ", "a DDS texture: not supported here"),
    (b"gimp xcf", "a GIMP file (XCF): not supported here"),
    (b"II\xbc", "JPEG XR: not supported here"),
    (b"qoif", "QOI: not supported here"),
    (b"SIMPLE  =", "FITS: not supported here"),
    (b"BPG\xfb", "BPG: not supported here"),
    (b"%PDF", "a PDF, not an image"),
    (b"%!PS", "PostScript, not an image"),
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer: the file itself was not downloaded"),
    (b"PK\x03\x04", "a ZIP archive, not an image"),
    (b"PK\x05\x06", "a ZIP archive, not an image"),
    (b"\x1f\x8b", "compressed with gzip, not an image"),
    (b"BZh", "compressed with bzip2, not an image"),
    (b"\xfd7zXZ\x00", "compressed with xz, not an image"),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard, not an image"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive, not an image"),
    (b"Rar!\x1a\x07", "a RAR archive, not an image"),
    (b"\x93NUMPY", "a NumPy array, not an image"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, not an image"),
    (b"PAR1", "a Parquet file, not an image"),
    (b"SQLite format 3\x00", "an SQLite database, not an image"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video, not an image"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a Microsoft Office file, not an image"),
    (b"\x00\x05\x16\x07", "what macOS stores beside a file, not an image"),
    (b"\x00\x05\x16\x00", "what macOS stores beside a file, not an image"),
    (b"\x7fELF", "a program, not an image"),
)  # fmt: skip


def named_format(name: str) -> str:
    """Return the format that the ending of a name stands for; empty if it is not the name of an image."""
    return NAMES.get(PurePosixPath(name).suffix.lower(), "")


def format_of(head: bytes, name: str = "") -> str:
    """Return the format of the image that starts with ``head`` (`HEAD_BYTES` of it); empty if that is not one.

    ``name`` is asked where the content has no mark.
    """
    for mark, format_ in _MARKS:
        if head.startswith(mark):
            return format_
    if head.startswith(b"BM"):
        return "BMP" if int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES else ""
    if head.startswith(b"RIFF"):
        return "WEBP" if head[8:12] == b"WEBP" else ""
    if head[4:8] == b"ftyp":
        return _isobmff(head)
    if head[:1] == b"P" and _is_netpbm(head):
        return "PPM"
    if head.startswith(b"\x00\x00\x01\x00"):
        return "ICO" if _is_icon(head) else ""
    return "TGA" if named_format(name) == "TGA" and _is_targa(head) else ""


def format_of_content(data: bytes, name: str = "") -> str:
    """Return the format of ``data``, the whole content of a file of that name; empty if it is no image."""
    head = data[:HEAD_BYTES]
    return format_of(head, name) or ("TGA" if data.endswith(_TARGA_END) and _is_targa(head) else "")


def what_it_is(data: bytes) -> str:
    """Return what content is that is no image, as a reason for people; empty if that is not known."""
    head = data[:HEAD_BYTES]
    for mark, words in _OTHERS:
        if head.startswith(mark):
            return words
    if data.count(0) == len(data):
        return "nothing but zeros: it was probably not downloaded in full"
    if head.startswith(b"\x00\x00\x02\x00") and _is_icon(head, is_cursor=True):
        return "a cursor (CUR): not supported here"
    if head[4:8] == b"ftyp":
        return "a video, not an image"
    if head.startswith(b"RIFF"):
        return "sound or video (RIFF), not an image"
    if (at := data.find(b"\xff\xd8\xff", 0, HEAD_BYTES)) > 0:
        return f"a JPEG behind {at} other bytes"
    return _what_text(data)


def _what_text(data: bytes) -> str:
    """Return what a text is; empty if it is none."""
    # A sample of the start may end within a character.
    try:
        text = data[: 8 * HEAD_BYTES].decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < min(len(data), 8 * HEAD_BYTES) - 3:
            return ""
        text = data[: error.start].decode("utf-8-sig", "ignore")
    if not text or any(character < " " and character not in "\t\n\r\f" for character in text):
        return ""
    start = text.lstrip()[:HEAD_BYTES].lower()
    if start.startswith(("<!doctype html", "<head", "<body")) or (start.startswith("<") and "<html" in start):
        return "an HTML page, not an image"
    if "<svg" in start:
        return "an SVG drawing: not supported here"
    if start.startswith("<"):
        return "XML, not an image"
    if start.startswith(("{", "[")):
        return "JSON, not an image"
    return "text, not an image"


def _isobmff(head: bytes) -> str:
    """Return the format of a file of boxes by its brands (ISO/IEC 14496-12, 4.3)."""
    size = int.from_bytes(head[:4], "big")
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, min(size, len(head)), 4))]
    for brand in brands:
        if brand in _AVIF_BRANDS:
            return "AVIF"
        if brand in _HEIF_BRANDS:
            return "HEIF"
    return ""


def _is_netpbm(head: bytes) -> bool:
    """Whether a header of PBM, PGM, PPM or PFM follows: a width comes next, and comments may stand before it."""
    if head[1:2] not in b"123456f" or not head[2:3].isspace():
        return False
    lines = [line.split(b"#")[0] for line in head[2:].split(b"\n")]
    words = b" ".join(lines).split(maxsplit=2)
    return bool(words) and words[0].isdigit()


def _is_icon(head: bytes, *, is_cursor: bool = False) -> bool:
    """Whether a directory of icons follows, whose first entry is possible. A cursor has a place instead of depths."""
    if len(head) < 22:
        return False
    count, _, _, _, reserved, planes, bits, size, offset = struct.unpack_from("<HBBBBHHII", head, 4)
    in_range = 1 <= count <= 256 and (is_cursor or (planes <= 1 and bits <= 32))
    return bool(in_range and reserved == 0 and size > 0 and offset >= 6 + 16 * count)


def _is_targa(head: bytes) -> bool:
    """Whether a header of the Truevision format 2.0 is possible."""
    if len(head) < 18:
        return False
    return head[1] <= 1 and head[2] in _TARGA_TYPES and head[16] in (8, 15, 16, 24, 32)
