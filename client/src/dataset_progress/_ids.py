"""The ids of datasets, as jobs name them and as the server takes them."""

from __future__ import annotations

import hashlib
import re
from functools import cache

from ._api import logger

MAX_LENGTH = 128
ALLOWED = "letters, digits, . _ -"
_VALID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9._-]+")


def dataset_id(value: object) -> str:
    """Return ``value`` as a valid id. If it has to be changed for that, log so once: ``org/name`` becomes ``org.name``.

    Raises `ValueError` if ``value`` is no text, or has no letter and no digit that an id may contain.
    """
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a valid dataset id ({ALLOWED})")
    if len(value) <= MAX_LENGTH and _VALID.fullmatch(value):
        return value
    return _made_valid(value)


@cache
def _made_valid(value: str) -> str:
    made = _NOT_ALLOWED.sub(".", value).lstrip("._-").rstrip(".")
    if not made:
        raise ValueError(f"{value!r} is not a valid dataset id ({ALLOWED})")
    if len(made) > MAX_LENGTH:  # long paths often differ at their ends
        digest = hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()[:8]
        made = f"{made[: MAX_LENGTH - 9]}.{digest}"
    logger.warning("the dataset %.200r is called %r, because an id consists of %s", value, made, ALLOWED)
    return made


def reported_id(value: object) -> str | None:
    """Do as `dataset_id`, but return None in place of an error, which is logged once."""
    try:
        return dataset_id(value)
    except ValueError as error:
        _log_invalid(str(error))
        return None


@cache
def _log_invalid(error: str) -> None:
    logger.warning("progress is not reported: %s", error)
