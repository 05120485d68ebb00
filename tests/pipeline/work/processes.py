"""The processes of a pool, as the system knows them."""

from __future__ import annotations

import os
from contextlib import suppress

import psutil


def pool_processes() -> list[psutil.Process]:
    """The processes of the pool: children of the fork server, which is ours."""
    return [process for process in psutil.Process().children(recursive=True) if _is_of_a_pool(process)]


def _is_of_a_pool(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.ppid() != os.getpid() and "forkserver" in " ".join(process.cmdline())
    return False
