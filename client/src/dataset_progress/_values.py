"""Convert whatever a job passes into values that the server accepts.

A report that is refused for its form would inform nobody, and an exception would reach the job. So numbers are clamped,
texts are cut, and characters that cannot be encoded are escaped.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import traceback

MAX_COUNT = 10**15
MAX_TRACEBACK_FRAMES = 5
MAX_TRACEBACK_CHARACTERS = 3000
_PACKAGE = os.path.dirname(__file__) + os.sep  # noqa: PTH120 -- pathlib would be imported for this alone
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]+")


def count(value: object, scale: int = 1) -> int:
    """Convert ``value`` times ``scale`` to an integer in 0..`MAX_COUNT`; 0 if that is not possible."""
    try:
        scaled = value if scale == 1 else round(value * scale)  # type: ignore[operator]  # any object may be given
        number: int = int(scaled)  # type: ignore[call-overload]  # and int() may raise anything
    except Exception:  # not a number, infinite, or of a class whose __int__ raises
        return 0
    return min(max(number, 0), MAX_COUNT)


def number(value: object) -> float | None:
    """Convert to a finite number; None if that is not possible."""
    if type(value) is int:
        return value
    try:
        converted = float(value)  # type: ignore[arg-type]  # any object may be given, and float() may raise anything
    except Exception:
        return None
    if not math.isfinite(converted):
        return None
    return int(value) if converted.is_integer() else converted  # type: ignore[call-overload]  # float() took it


def weight(value: float) -> float:
    """Convert to a weight in 0.001..1,000,000; 1 if that is not possible."""
    try:
        number = float(value)
    except Exception:
        return 1.0
    return min(max(number, 0.001), 1e6) if math.isfinite(number) else 1.0


def visibility(value: object) -> str:
    """Return "public" or "private". Anything else is private: what is not understood must not be shown to everyone."""
    return "public" if value == "public" else "private"


def text(value: object, length: int) -> str:
    """Convert to text of at most ``length`` characters, all of which can be encoded."""
    try:
        converted = str(value)
    except Exception:
        converted = f"<{type(value).__name__}>"
    return _encodable(converted[:length])


def item(value: object) -> str:
    """Convert to the name of an item. A long one keeps its end, which tells files apart."""
    return _encodable(text(value, 100_000)[-1024:]) or "?"


def name(value: object, length: int, default: str) -> str:
    """Convert to a name on one line of at most ``length`` characters; ``default`` if nothing is left."""
    return _CONTROL_CHARACTERS.sub(" ", text(value, 1000)).strip()[:length].strip() or default


def identifier(value: object) -> str:
    """Convert to an identifier of at most 128 characters. A longer one, or one of several lines, becomes its digest."""
    converted = str(value)
    if (
        converted
        and len(converted) <= 128
        and _encodable(converted) == converted
        and not _CONTROL_CHARACTERS.search(converted)
    ):
        return converted
    return hashlib.sha256(converted.encode(errors="surrogatepass")).hexdigest()


def printable(value: str) -> str:
    """Replace what a terminal would obey, in text that comes from the server, by spaces."""
    return "".join(character if character.isprintable() else " " for character in value)


def error_text(error: BaseException | str, *, with_traceback: bool = False) -> str:
    """Describe why a run failed: the class and message of an exception, or the text itself.

    ``with_traceback``: add the last frames of the job, at most `MAX_TRACEBACK_FRAMES`.
    """
    described = text(error, 10_000)
    if isinstance(error, str):
        return described or "Failed."
    described = f"{type(error).__name__}: {described}" if described else type(error).__name__
    return f"{described}\n{_frames(error)}".rstrip() if with_traceback else described


def _frames(error: BaseException) -> str:
    """Return the last frames of a traceback that are of the job, as Python prints them."""
    try:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_of_job(frame.filename)]
        return text("".join(traceback.format_list(frames[-MAX_TRACEBACK_FRAMES:]))[-MAX_TRACEBACK_CHARACTERS:], 10_000)
    except Exception:  # a source file that cannot be read, say
        return ""


def _is_of_job(filename: str) -> bool:
    return not filename.startswith(_PACKAGE) and f"{os.sep}IPython{os.sep}" not in filename


def _encodable(value: str) -> str:
    """Escape lone surrogates, which file names that are not UTF-8 have in Python."""
    return value.encode(errors="backslashreplace").decode()
