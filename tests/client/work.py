"""Work for processes of their own: they load the client, and nothing of this project."""

from __future__ import annotations

import time

from dataset_progress import Run


def count_to(run: Run, number: int) -> None:
    for _ in range(number):
        run.advance()


def count_one(run: Run, number: int) -> int:
    time.sleep(0.01)
    run.advance()
    return number


def rest(number: int) -> None:
    time.sleep(0.002)
