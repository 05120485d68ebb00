"""Say where a run is reported from: host, process and versions, and the job's own link. Never its command line."""

from __future__ import annotations

import os
import platform
import socket
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from . import _values as values

MAX_NAME = 200
MAX_LINK = 2000


def origin(link: str | None) -> dict[str, Any]:
    """Return the fields of the request that begins a run. A ``link`` that is not one of http or https is left out."""
    where = {
        "host": values.name(socket.gethostname(), MAX_NAME, "?"),
        "process": os.getpid(),
        "client": f"dataset-progress {_version()}".rstrip(),
        "python": platform.python_version(),
    }
    return {"origin": where, **({"link": link} if link and _is_web_link(link) else {})}


@cache
def _version() -> str:
    try:
        return version("dataset-progress")
    except PackageNotFoundError:  # a copy that is not installed
        return ""


def _is_web_link(link: str) -> bool:
    is_plain = link.isprintable() and " " not in link and len(link) <= MAX_LINK
    return is_plain and link.lower().startswith(("http://", "https://")) and len(link.partition("//")[2]) > 0
