"""Thumbnails: where they are, and how pixels of any kind become one.

A thumbnail is an RGB JPEG in a file that is named after the SHA-256 of the original's content. Django is not imported:
pool processes run this.
"""

from __future__ import annotations

import io
import json
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .colour import is_converted, to_srgb
from .deep import small_of_values
from .scaling import BACKDROP, scaled

# Smaller thumbnails keep all of their colours: at half the resolution an icon of 32 × 32 pixels loses much of them.
FULL_COLOUR_SIDE: Final = 96

_JPEG_END: Final = b"\xff\xd9"
_COMMENT: Final = b"\xff\xfe"


def thumbnail_path(thumbnails: str, sha256: str) -> str:
    """Return the path of the thumbnail of the content with that hash. The 256 subfolders keep each folder small."""
    return f"{thumbnails}/{sha256[:2]}/{sha256}.jpg"


class Remarks(NamedTuple):
    """What there is to say of a picture, besides its size."""

    damage: str = ""
    note: str = ""


def read_remarks(path: str) -> Remarks | None:
    """Return what was said of the picture when its thumbnail was saved. None: there is no whole thumbnail.

    A power failure can leave one empty or cut short.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        return None
    if not content.endswith(_JPEG_END):
        return None
    if _COMMENT not in content[:1024]:
        return Remarks()
    with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
        comment = image.info.get("comment", b"")
    try:
        return Remarks(**json.loads(comment))
    except (ValueError, TypeError):
        return None


def save_thumbnail(small: Image.Image, path: str, remarks: Remarks = Remarks()) -> None:  # noqa: B008 -- immutable
    """Write a thumbnail, whole or not at all, with what there is to say of the picture. Raises `OSError`."""
    encoded = io.BytesIO()
    subsampling = "4:2:0" if max(small.size) >= FULL_COLOUR_SIDE else "4:4:4"
    comment = json.dumps(remarks._asdict()).encode() if any(remarks) else b""
    small.save(encoded, "JPEG", quality=80, subsampling=subsampling, comment=comment)
    target = Path(path)
    # Another process, perhaps on another machine, may write the thumbnail of a copy of the same file at this moment.
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        try:
            temporary.write_bytes(encoded.getbuffer())
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(encoded.getbuffer())
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def small_rgb(image: Image.Image, size: tuple[int, int], profile: bytes | None = None) -> tuple[Image.Image, str]:
    """Convert a loaded image of any mode to ``size`` and sRGB, without metadata. Raises what Pillow raises.

    ``profile``: its ICC profile. Returns the image, of mode RGB or RGBX, and as a sentence how its values were scaled;
    empty if they were not.
    """
    note = ""
    if image.mode == "F" or image.mode.startswith("I"):
        small, note = small_of_values(_values(image), size)
    elif image.has_transparency_data:
        layer = scaled(image.convert("RGBA"), size)
        small = Image.new("RGB", size, BACKDROP)
        small.paste(to_srgb(layer.convert("RGB"), profile), mask=layer.getchannel("A"))
    elif image.mode == "CMYK" and is_converted(profile, "CMYK"):
        small = to_srgb(scaled(image, size), profile)
    else:
        # Convert before scaling: averages of CMYK, of palette indices and of single bits are not averages of colours.
        averageable = image if image.mode in ("RGB", "RGBX", "L") else image.convert("RGB")
        small = to_srgb(scaled(averageable, size), profile)
    # Pillow would copy the original's comment, of any length, into the thumbnail.
    small.info = {}
    return small, note


def _values(image: Image.Image) -> NDArray[Any]:
    """Return the values of an image of one deep band, shape (height, width, 1)."""
    if image.mode.startswith("I;16"):
        return np.asarray(image.convert("I") if image.mode != "I;16" else image).astype(np.uint16)[..., None]
    return np.asarray(image)[..., None]
