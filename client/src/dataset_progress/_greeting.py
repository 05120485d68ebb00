"""Say once, to a person at a terminal, where the progress of a dataset is shown."""

from __future__ import annotations

import multiprocessing
import os
import sys
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

__all__ = ["page_of", "say_where"]

_said: set[str] = set()


def page_of(url: str, dataset_id: str = "") -> str:
    """Return the address of a dataset's page, or of the list, without a password that ``url`` may hold."""
    parts = urlsplit(url)
    where = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")).rstrip("/")
    return f"{where}/datasets/{dataset_id}/" if dataset_id else f"{where}/"


def say_where(url: str, dataset_id: str) -> None:
    """Print the address of a dataset's page to standard error, if that is a terminal: once for each dataset.

    Worker processes say nothing, nor does anybody where ``DATASET_PROGRESS_QUIET`` is set. Never raises.
    """
    with suppress(Exception):
        address = page_of(url, dataset_id)
        if address in _said or os.environ.get("DATASET_PROGRESS_QUIET") or not sys.stderr.isatty():
            return
        _said.add(address)
        if multiprocessing.parent_process() is None:
            _print(f"\N{RIGHTWARDS ARROW} {address}")


def _print(line: str) -> None:
    """Print above the bars of tqdm, where there are any."""
    tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)
    if getattr(tqdm, "_instances", None):
        tqdm.write(line, file=sys.stderr)  # type: ignore[union-attr]  # it has instances
    else:
        print(line, file=sys.stderr, flush=True)
