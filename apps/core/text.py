"""Text from outside, made fit for every database and for a terminal."""

from __future__ import annotations

import logging
from typing import Any, Final

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


def printable(text: str, *, lines: bool = False) -> str:
    """Replace what a terminal would obey by blanks: escape sequences, control characters, changes of direction.

    Everything that is printed and that a reporter, a file name or an exception may have written passes here. ``lines``
    keeps the ends of lines.
    """
    if lines:
        return "\n".join(printable(line) for line in text.splitlines())
    return "".join(character if character.isprintable() else " " for character in text)


class PrintableFormatter(logging.Formatter):
    """Formats log records for a terminal: a message is one line, and a traceback keeps its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- logging's name for it
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 -- logging's name for it
        return printable(super().formatException(ei), lines=True)
