"""Checks of settings that are more than a type and a range. Each raises `ValidationError` and says what to write."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from environs import ValidationError


def origins(values: list[str]) -> None:
    """Accept origins: a scheme, a host and, where it is not the usual one, a port."""
    for value in values:
        try:
            parts = urlsplit(value)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.netloc or value != f"{parts.scheme}://{parts.netloc}":
            raise ValidationError(f"{value!r} is no origin: write it as https://app.example.org")


def absolute_paths(values: list[str]) -> None:
    for value in values:
        if not Path(value).is_absolute():
            raise ValidationError(f"{value!r} is no absolute path.")


def redis_url(value: str) -> None:
    """Accept the address of a Redis server, or nothing. It may have a password in it, so it is not quoted."""
    if not value:
        return
    from redis.connection import parse_url  # only with Redis: its client takes long to import

    try:
        parse_url(value)  # type: ignore[no-untyped-call]  # it has no types
    except ValueError:
        raise ValidationError("It is no address of a Redis server: write it as redis://host:6379/0") from None


def time_zone(value: str) -> None:
    try:
        ZoneInfo(value)
    except (OSError, ValueError, KeyError) as error:  # ZoneInfoNotFoundError is a KeyError
        raise ValidationError(f"{value!r} is no time zone: write it as Europe/Berlin") from error


def location(value: str) -> None:
    """Accept the path of an address, or nothing."""
    if value and not (value.startswith("/") and value.endswith("/")):
        raise ValidationError(f"{value!r} is no location: write it as /files/")


def networks(values: list[str]) -> None:
    for value in values:
        try:
            ip_network(value)
        except ValueError as error:
            raise ValidationError(f"{value!r} is no network: write it as 10.1.0.0/16") from error


def site_url(value: str) -> None:
    """Accept an origin, or nothing."""
    if value:
        origins([value])
