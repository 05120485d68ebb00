"""Who began a run, and where it runs: what those who may steer the dataset are shown of it. Never its command line."""

from __future__ import annotations

import os
import platform
import socket
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from apps.core.text import clean_text

NAME_LENGTH: Final = 200
LINK_LENGTH: Final = 2000
# What a link may lead to. Others, such as javascript:, are never stored.
SCHEMES: Final = ("http", "https")


@dataclass(frozen=True, slots=True)
class Origin:
    """Who began a run and where: all of it as the reporter says, but ``by``, which the server knows.

    ``process``: the number of the process. ``client``, ``python``: versions. ``link``: the address of the job's own
    page.
    """

    by: str = ""
    host: str = ""
    process: int | None = None
    client: str = ""
    python: str = ""
    link: str = ""

    def columns(self) -> dict[str, Any]:
        """Return the values of the columns of `Run`. A link that is no address of http or https is left out."""
        texts = {"host": self.host, "client": self.client, "python": self.python}
        origin: dict[str, Any] = {name: clean_text(text, NAME_LENGTH) for name, text in texts.items() if text}
        if self.process is not None:
            origin["process"] = self.process
        return {"started_by": clean_text(self.by, NAME_LENGTH), "origin": origin, "link": web_link(self.link)}


NO_ORIGIN: Final = Origin()


def this_process() -> Origin:
    """Return where this process runs."""
    return Origin(host=socket.gethostname(), process=os.getpid(), python=platform.python_version())


def web_link(address: str) -> str:
    """Return the address if it is one of http or https with a host; else an empty string."""
    address = address.strip()
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    is_safe = parts.scheme.lower() in SCHEMES and parts.hostname and address.isprintable() and " " not in address
    return address if is_safe and len(address) <= LINK_LENGTH else ""
