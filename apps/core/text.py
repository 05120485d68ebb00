"""Text from outside, made fit for every database: no NUL, no lone surrogate, and no longer than its column."""

from __future__ import annotations

from typing import Final

REASON_LENGTH: Final = 500
MESSAGE_LENGTH: Final = 1000
ERROR_LENGTH: Final = 10_000
# PostgreSQL indexes up to 2,704 bytes of a row, and a unique index holds the item.
ITEM_BYTES: Final = 1024


def clean_text(text: str, max_length: int) -> str:
    """Replace NUL, escape lone surrogates, and cut to ``max_length`` characters.

    Messages quote file names, and a name that is not UTF-8 reaches Python with lone surrogates in it.
    """
    if "\0" in text:
        text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text.encode(errors="backslashreplace").decode()[:max_length]


def clean_item_name(name: str) -> str:
    """Clean the name of an item. A name that is too long keeps its end, which tells files apart."""
    encoded = clean_text(name, len(name) * 6).encode()
    if len(encoded) > ITEM_BYTES:
        return "…" + encoded[3 - ITEM_BYTES :].decode(errors="ignore")
    return encoded.decode()


def one_line(error: BaseException) -> str:
    """Return the message of an error in one line; the name of its type if it has none."""
    return " ".join(str(error).split()) or type(error).__name__
