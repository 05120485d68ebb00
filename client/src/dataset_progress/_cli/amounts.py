"""Counts and rates with their units, as the pages of the server show them."""

from __future__ import annotations

_BYTES = frozenset({"B", "byte", "bytes"})


def percent(done: float, total: float) -> int:
    """Return ``done`` of ``total`` as a whole percent: half up, but 100 only where all is done and 0 where nothing is.

    A total of 0 counts as 1, and ``done`` is kept within 0 and the total.
    """
    total = total if total > 0 else 1
    done = min(max(done, 0), total)
    if done in (0, total):
        return 100 if done else 0
    # Whole numbers are divided as such: they may be too large for a float.
    halves = (200 * done + total) // (2 * total)
    return int(min(max(halves, 1), 99))


def figure(count: float, unit: str) -> str:
    """Return a count without its unit. Of bytes, the unit is a part of it: ``12.0 kB``."""
    return _size(count) if unit in _BYTES else f"{count:,.0f}"


def amount(count: float, unit: str) -> str:
    """Return a count with its unit, which is given in the plural: ``12,000 files``, ``12.0 kB``."""
    if unit in _BYTES:
        return _size(count)
    return f"{count:,.0f} {unit.removesuffix('s') if count == 1 else unit}"


def rate(per_second: float, unit: str) -> str:
    """Return items per second; per minute or per hour below one. Bytes are always per second."""
    if unit in _BYTES:
        return f"{_size(per_second)}/s"
    for factor, word in ((1, "s"), (60, "min")):
        if (value := per_second * factor) >= 1:
            return _rate(value, unit, word)
    return _rate(per_second * 3600, unit, "h")


def _rate(value: float, unit: str, word: str) -> str:
    return f"{value:,.0f} {unit}/{word}" if value >= 100 else f"{value:.1f} {unit}/{word}"


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
