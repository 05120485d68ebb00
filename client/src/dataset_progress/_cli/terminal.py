"""What the commands print: lines and errors. Text of the server is made printable first."""

from __future__ import annotations

import os
import sys
import time

from dataset_progress._progress import Progress
from dataset_progress._values import printable
from dataset_progress._watch import Watch

from . import words
from .amounts import figure

LINES_SECONDS = 0.2


def print_error(text: str) -> None:
    """Print a line to standard error."""
    print(f"dataset-progress: {printable(text)}", file=sys.stderr)


def line_of(progress: Progress) -> str:
    """Describe a progress in one line."""
    done = words.percentage(progress)
    percent = "" if done is None else f" {done}%"
    label = str((progress.details.get("stage") or {}).get("label", ""))
    failed = words.failed(progress)
    is_still = progress.details.get("paused") or words.is_waiting(progress)
    facts = [
        _count(progress),
        words.whole_run(progress),
        label,
        words.condition(progress).lower() if is_still else words.health(progress).lower(),
        words.silent(progress),
        words.speed(progress),
        f"{left} left" if (left := words.time_left(progress)) else "",
        f"{failed:,} failed" if failed else "",
    ]
    text = (progress.error or progress.message).strip().partition("\n")[0]
    described = ", ".join(fact for fact in facts if fact)
    return printable(f"{progress.dataset_id}: {progress.state}{percent} ({described}) {text}".rstrip())


def _count(progress: Progress) -> str:
    unit = str((progress.details.get("stage") or {}).get("unit", "items"))
    counts = figure(progress.current, unit)
    if progress.state == "ready" and progress.planned > progress.current:
        return f"{counts} of {figure(progress.planned, unit)}"
    return f"{counts}/{figure(progress.total, unit)}" if progress.total else counts


def show(watches: list[Watch]) -> None:
    """Show the watches until all are over: as a table in a terminal, else as lines."""
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return print_lines(watches)
    try:
        from rich.console import Console

        from .table import show_table
    except ImportError:
        print_error("lines instead of a table, because rich is missing: pip install 'dataset-progress[cli]'")
        return print_lines(watches)
    return show_table(watches, Console())


def print_lines(watches: list[Watch]) -> None:
    """Print a line for each change until all watches are over."""
    printed: dict[str, str] = {}
    troubles = _Troubles()
    while True:
        running = [each for each in watches if not each.is_over]
        for each in watches:
            if each.progress is not None and printed.get(each.dataset_id) != (line := line_of(each.progress)):
                printed[each.dataset_id] = line
                print(line, flush=True)
        for trouble in troubles.new(running):
            print_error(trouble)
        if not running:
            return
        time.sleep(LINES_SECONDS)


class _Troubles:
    """Tells each time that a dataset cannot be reached once, until it can be reached again."""

    def __init__(self) -> None:
        self._shown: set[str] = set()

    def new(self, watches: list[Watch]) -> list[str]:
        """Return a line for each dataset that has not been told."""
        current = {each.dataset_id: each.trouble for each in watches if each.trouble is not None}
        new = [f"{words.trouble(name, why)} (trying again)" for name, why in current.items() if name not in self._shown]
        self._shown = set(current)
        return new
