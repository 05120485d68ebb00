"""What is said, as the server takes it.

Whatever a job gives becomes a number, a name or a text within bounds: a report that the server refuses for its form
would tell nobody anything, and an exception would reach the job.
"""

from __future__ import annotations

import hashlib
import math
import re

MOST = 10**15
_DATASET_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


def dataset_id(said: object) -> str:
    """The id of a dataset. Raises `ValueError` for what none can have."""
    if not (isinstance(said, str) and _DATASET_ID.fullmatch(said)):
        raise ValueError(f"{said!r} is no id of a dataset (letters, digits, . _ -)")
    return said


def count(value: object) -> int:
    """A whole number, 0..`MOST`, of whatever kind it came; 0 for what is none."""
    try:
        whole = int(value)  # type: ignore[call-overload]  # asked, not known
    except Exception:  # infinite, not a number, or of a class with ideas of its own
        return 0
    return min(max(int(whole), 0), MOST)


def weight(value: float) -> float:
    """A weight, 0.001..1,000,000; 1 for what is none."""
    try:
        number = float(value)
    except Exception:
        return 1.0
    return min(max(number, 0.001), 1e6) if math.isfinite(number) else 1.0


def text(value: object, length: int) -> str:
    """What ``value`` says of itself, cut to ``length`` characters, in characters that can be sent."""
    try:
        said = str(value)
    except Exception:
        said = f"<{type(value).__name__}>"
    return _whole(said[:length])


def item(value: object) -> str:
    """The name of an item. Of one that is too long, the end is kept: it tells files apart."""
    return _whole(text(value, 100_000)[-1024:]) or "?"


def name(value: object, length: int, otherwise: str) -> str:
    """A name on one line, of at most ``length`` characters; ``otherwise`` where nothing is left of it."""
    return _CONTROL.sub(" ", text(value, 1000)).strip()[:length].strip() or otherwise


def key(said: object) -> str:
    """A key of at most 128 characters: one that is longer, or of several lines, by its digest, so that none meet."""
    value = str(said)
    if value and len(value) <= 128 and _whole(value) == value and not _CONTROL.search(value):
        return value
    return hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()


def words(error: BaseException | str) -> str:
    """Why something failed, as it is told."""
    said = text(error, 10_000)
    if isinstance(error, str):
        return said or "Failed."
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _whole(said: str) -> str:
    """``said`` without half of a character: names of files that are not UTF-8 reach Python with some."""
    return said.encode(errors="backslashreplace").decode()
