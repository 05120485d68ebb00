"""Counts and rates with their units. Pure functions."""

from __future__ import annotations

from typing import Final

MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
BYTES: Final = frozenset({"B", "byte", "bytes"})


def plural(count: int, noun: str) -> str:
    """Return ``3 files``, ``1 file``, ``12,000 files``; ``noun`` is given in the plural."""
    if count == 1:
        noun = noun.removesuffix("s")
    return f"{count:,} {noun}"


def size(count: float) -> str:
    """Return a number of bytes in the unit that leaves at most three digits before the point."""
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def figure(count: int, unit: str) -> str:
    """Return a count without its unit: ``12,000``. Of bytes, the unit is a part of it: ``12.0 kB``."""
    return size(count) if unit in BYTES else f"{count:,}"


def amount(count: int, unit: str) -> str:
    """Return a count with its unit, which is given in the plural: ``12,000 files``, ``12.0 kB``."""
    return size(count) if unit in BYTES else plural(count, unit)


def rate(per_second: float, unit: str) -> str:
    """Return items per second; per minute or per hour below one. Bytes are always per second."""
    if unit in BYTES:
        return f"{size(per_second)}/s"
    for factor, word in ((1, "s"), (MINUTE, "min")):
        if (value := per_second * factor) >= 1:
            return _rate(value, unit, word)
    return _rate(per_second * HOUR, unit, "h")


def _rate(value: float, unit: str, word: str) -> str:
    return f"{value:,.0f} {unit}/{word}" if value >= 100 else f"{value:.1f} {unit}/{word}"
