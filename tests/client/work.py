"""Work for processes of their own: they load the client, and nothing of this project."""

from __future__ import annotations

from dataset_progress import Run


def count_to(run: Run, number: int) -> None:
    for _ in range(number):
        run.advance()
