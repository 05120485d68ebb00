"""The table of `watch` in a terminal. Needs the package ``rich``, which lays it out again when the terminal changes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dataset_progress._progress import Progress
from dataset_progress._values import printable
from dataset_progress._watch import Watch

from . import words

REFRESH_SECONDS = 0.1
# From how many columns on each number has a column of its own.
WIDE = 120
COLOURS = {"indexing": "blue", "embedding": "magenta", "ready": "green", "error": "red"}


def show_table(watches: Sequence[Watch], console: Console) -> None:
    """Show a table on the terminal's other screen until all watches are over, then leave it on the usual one."""
    try:
        with Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
            shown: object = None
            while True:
                is_over = all(each.is_over for each in watches)
                state = [(each.progress, each.trouble) for each in watches], console.size
                if state != shown:
                    live.update(_page(watches, console.width), refresh=True)
                    shown = state
                if is_over:
                    return
                time.sleep(REFRESH_SECONDS)
    finally:
        with suppress(OSError):  # the terminal is gone
            console.print(_page(watches, console.width))


def _page(watches: Sequence[Watch], width: int) -> Group:
    return Group(_table(watches, is_wide=width >= WIDE), *_remarks(watches))


def _table(watches: Sequence[Watch], *, is_wide: bool) -> Table:
    """One row for each dataset. In a narrow terminal its numbers stand below each other, so that none is cut off."""
    table = Table(box=None, expand=True, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("Dataset", ratio=3, overflow="fold")
    table.add_column("Progress", ratio=2)
    table.add_column("Done", ratio=3)
    if is_wide:
        table.add_column("Rate", ratio=2)
        table.add_column("Time left", ratio=2)
        table.add_column("Failed", justify="right")
    for each in watches:
        progress = each.progress or Progress(each.dataset_id)
        colour = "bright_black" if progress.details.get("paused") else COLOURS.get(progress.state, "bright_black")
        condition = words.condition(progress) if each.progress is not None else words.unknown(each.error)
        failed = words.failed(progress)
        done, speed, left = words.count(progress), words.speed(progress), words.time_left(progress)
        numbers = [Text(printable(text)) for text in (done, speed, left)]
        numbers.append(Text(f"{failed:,}" if done else "", style="red" if failed else ""))
        if not is_wide:
            units = ("", "", " left", " failed")
            lines = [number.append(unit) for number, unit in zip(numbers, units, strict=True) if number.plain]
        name = Group(Text(each.dataset_id, style="bold"), Text(printable(condition), style=colour), *_health(progress))
        table.add_row(name, Group(*_bar(progress, colour)), *(numbers if is_wide else [Group(*lines)]))
    return table


def _health(progress: Progress) -> Iterable[Text]:
    if word := words.health(progress):
        yield Text(word, style="yellow")


def _bar(progress: Progress, colour: str) -> Iterable[Text | ProgressBar]:
    """Return the bar of the stage under way, with its percentage, as the page shows it; below it the whole run."""
    percentage = words.percentage(progress)
    yield Text("" if percentage is None else f"{percentage}%")
    done = (1, 1) if progress.state == "ready" else (progress.current, progress.total or 1)
    yield ProgressBar(done[1], done[0], complete_style=colour, finished_style=colour)
    yield Text("")  # a bar does not end its line
    if whole := words.whole_run(progress):
        yield Text(whole, style="dim")


def _remarks(watches: Sequence[Watch]) -> Iterable[Text]:
    """Return what each dataset says, and why it cannot be reached, in a line for each."""
    for each in watches:
        progress = each.progress
        if progress is not None and (said := progress.error or progress.message):
            yield Text(printable(f"{each.dataset_id}: {said}"), style="red" if progress.error else "dim")
        if each.trouble is not None and not each.is_over:
            yield Text(printable(f"{words.trouble(each.dataset_id, each.trouble)} (trying again)"), style="yellow")
