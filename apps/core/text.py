"""What reporters say, as it is stored: whatever the text, every database takes it."""

from __future__ import annotations

from typing import Final

REASON_LENGTH: Final = 500
MESSAGE_LENGTH: Final = 1000
ERROR_LENGTH: Final = 10_000
# PostgreSQL indexes no more than 2,704 bytes of a row, and the item stands in the index that keeps it there once.
ITEM_BYTES: Final = 1024


def text(said: str, length: int) -> str:
    """Text without NUL and without half of a character, cut to ``length`` characters.

    Messages quote file names, and a name that is not UTF-8 reaches Python with lone surrogates in it.
    """
    if "\0" in said:
        said = said.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return said.encode(errors="backslashreplace").decode()[:length]


def item_text(name: str) -> str:
    """The name of an item as it is listed. Of one that is too long, the end is kept: it tells files apart."""
    encoded = text(name, len(name) * 6).encode()
    if len(encoded) > ITEM_BYTES:
        return "…" + encoded[3 - ITEM_BYTES :].decode(errors="ignore")
    return encoded.decode()
