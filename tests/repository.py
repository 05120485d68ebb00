"""The files of the repository, for tests that read them."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Made by programs, and not written by anyone.
MADE = {"__pycache__", "dist", "migrations", "node_modules", "var"}


@cache
def files(*suffixes: str) -> tuple[Path, ...]:
    """Return every file that someone has written, or those whose name ends with one of ``suffixes``."""
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in MADE and (not name.startswith(".") or name == ".ci")]
        found += [Path(folder, name) for name in names]
    return tuple(sorted(path for path in found if not suffixes or path.suffix in suffixes))
