"""Reads of the database in a thread of their own, so that no event loop waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from django.db import connections


async def read_in[**P, R](executor: ThreadPoolExecutor, read: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call ``read`` in the executor's thread. After an error the thread's connections are closed and opened anew."""

    def reading() -> R:
        try:
            return read(*args, **kwargs)
        except Exception:
            connections.close_all()
            raise

    return await asyncio.get_running_loop().run_in_executor(executor, reading)
