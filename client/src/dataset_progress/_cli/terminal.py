"""What the commands print: lines, bars and errors. Text of the server is made printable first."""

from __future__ import annotations

import sys
import time

from dataset_progress._cli.amounts import figure, percent, rate
from dataset_progress._progress import Progress
from dataset_progress._values import printable
from dataset_progress._watch import Watch

LINES_SECONDS = 0.2
BARS_SECONDS = 0.1


def print_error(text: str) -> None:
    """Print a line to standard error."""
    print(f"dataset-progress: {printable(text)}", file=sys.stderr)


def line_of(progress: Progress) -> str:
    """Describe a progress in one line."""
    shown = progress.state in ("indexing", "embedding") and progress.total > 0
    of_stage = f" {percent(progress.current, progress.total)}%" if shown else ""
    unit = str((progress.details.get("stage") or {}).get("unit", "items"))
    counts = figure(progress.current, unit)
    if progress.state == "ready" and progress.planned > progress.current:
        counts += f" of {figure(progress.planned, unit)}"
    elif progress.total:
        counts += f"/{figure(progress.total, unit)}"
    if per_second := progress.details.get("rate"):
        counts += f", {rate(float(per_second), unit)}"
    text = progress.error or progress.message
    is_part = shown and progress.percent is not None and len(progress.details.get("stages") or []) > 1
    whole = f", whole run {percent(progress.percent or 0, 100)}%" if is_part else ""
    return printable(f"{progress.dataset_id}: {progress.state}{of_stage} ({counts}{whole}) {text}".rstrip())


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


def draw_bars(watches: list[Watch]) -> None:
    """Draw a bar for each watch until all are over. Prints lines if the package ``rich`` is not installed."""
    try:
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars
    except ImportError:
        print_lines(watches)
        return
    columns = [
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
        TextColumn("{task.fields[text]}", markup=False),
    ]  # fmt: skip
    troubles = _Troubles()
    with Bars(*columns, TimeElapsedColumn()) as bars:
        tasks = {each.dataset_id: bars.add_task(each.dataset_id, total=100, text="") for each in watches}
        while True:
            running = [each for each in watches if not each.is_over]
            for each in watches:
                if (progress := each.progress) is not None:
                    text = printable((progress.error or progress.message or progress.state)[:60])
                    done, total = (1, 1) if progress.state == "ready" else (progress.current, progress.total)
                    share = percent(done, total)
                    bars.update(tasks[each.dataset_id], completed=share, text=text)
            for trouble in troubles.new(running):
                bars.console.print(printable(trouble), markup=False, style="yellow")
            if not running:
                return
            time.sleep(BARS_SECONDS)


class _Troubles:
    """Tells each time that a dataset cannot be reached once, until it can be reached again."""

    def __init__(self) -> None:
        self._shown: set[str] = set()

    def new(self, watches: list[Watch]) -> list[str]:
        """Return a line for each dataset that has not been told."""
        current = {each.dataset_id: each.trouble for each in watches if each.trouble is not None}
        new = [f"{name}: {trouble} (trying again)" for name, trouble in current.items() if name not in self._shown]
        self._shown = set(current)
        return new
