"""Numbers, times and states in words. Pure functions."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from django.utils.text import capfirst

from apps.pipeline.schedules import Schedule
from apps.progress.control import Action
from apps.progress.health import WORDS
from apps.progress.snapshot import DatasetProgress, Eta, StageProgress
from apps.progress.transitions import StageState, State

from .amounts import HOUR, MINUTE, amount, figure, plural
from .components import is_held, stage_label

DAY: Final = 24 * HOUR

# What becomes of many datasets that are steered together.
STEERED: Final = {
    Action.PAUSE: "pausing", Action.RESUME: "resumed", Action.CANCEL: "cancelling", Action.END: "ended",
    Action.RETRY: "asked to process again", Action.RETRY_FAILED: "asked to process failed items again",
}  # fmt: skip
REQUESTED: Final[dict[str | None, str]] = {"pause": "Pausing…", "cancel": "Cancelling…"}


def duration(seconds: float) -> str:
    """Return a length of time in its largest unit; hours and days with the next smaller unit: ``1 hour 20 minutes``."""
    whole = max(round(seconds), 0)
    if whole == 0:
        return "less than a second"
    if whole < MINUTE:
        return plural(whole, "seconds")
    if whole < HOUR:
        return plural(whole // MINUTE, "minutes")
    large, small, unit, sub = (HOUR, MINUTE, "hours", "minutes") if whole < DAY else (DAY, HOUR, "days", "hours")
    rest = whole % large // small
    return plural(whole // large, unit) + (f" {plural(rest, sub)}" if rest else "")


def schedule(schedule: Schedule) -> str:
    """Return when something is done again: ``every 6 hours``, ``every day at 02:30``; empty: never."""
    if schedule.every is not None:
        return f"every {duration(schedule.every.total_seconds())}"
    return f"every day at {schedule.daily_at:%H:%M}" if schedule.daily_at is not None else ""


def clock(seconds: float) -> str:
    """Return a length of time in digits: ``0:45``, ``12:03``, ``3:20:07``."""
    whole = max(round(seconds), 0)
    hours, rest = divmod(whole, HOUR)
    minutes, rest = divmod(rest, MINUTE)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def relative(moment: datetime, now: datetime) -> str:
    """Return how long ago ``moment`` was: ``just now``, ``3 minutes ago``; its date after four weeks."""
    seconds = (now - moment).total_seconds()
    if seconds < 10:
        return "just now"
    if seconds >= 28 * DAY:
        return f"{moment:%-d %b %Y}"
    for size, unit in ((DAY, "days"), (HOUR, "hours"), (MINUTE, "minutes"), (1, "seconds")):
        if seconds >= size:
            return f"{plural(int(seconds // size), unit)} ago"
    return "just now"


def exact(moment: datetime) -> str:
    """Return a time to the second, with its time zone."""
    return f"{moment:%-d %B %Y, %H:%M:%S %Z}".strip()


def _range(low: float, high: float) -> str:
    """Return a range of seconds in the unit of its upper end: ``about 4 minutes``, ``3 to 5 minutes``."""
    size, unit = (MINUTE, "minutes") if high < 90 * MINUTE else (HOUR, "hours") if high < 2 * DAY else (DAY, "days")
    first, last = max(round(low / size), 1), max(round(high / size), 1)
    return f"about {plural(last, unit)}" if first == last else f"{first} to {plural(last, unit)}"


def time_left(eta: Eta) -> str:
    """Return the estimate, no more precise than it is: ``less than a minute``, ``3 to 5 minutes``."""
    return "less than a minute" if eta.high < 50 else _range(eta.low, eta.high)


def named(who: str) -> str:
    """Return who did something, as a name in a sentence: ``ada``, ``token “laptop”``."""
    kind, blank, name = who.partition(" ")
    return f"{kind} “{name}”" if kind == "token" and blank else who


def stage_word(stage: StageProgress, *, is_over: bool) -> str:
    """Return the state of a stage in a word. ``is_over``: whether its run is."""
    if stage.state == StageState.WAITING and is_over:
        return "Not started"
    # Only the end of the run skips a stage that has begun.
    was_cut_short = stage.state == StageState.SKIPPED and stage.started_at is not None
    return "Cancelled" if was_cut_short else stage.state.capitalize()


def stage_count(stage: StageProgress) -> str:
    """Return what a stage has counted of what was planned: ``45 / 100``, ``4 of 10``, ``about 100``; empty: nothing."""
    current = figure(stage.current, stage.unit)
    if stage.state == StageState.DONE and stage.planned > stage.current:
        return f"{current} of {figure(stage.planned, stage.unit)}"
    if stage.total:
        return f"{current} / {figure(stage.total, stage.unit)}"
    if stage.expected:
        return f"about {figure(stage.expected, stage.unit)}"
    return current if stage.current else ""


def _unit(progress: DatasetProgress) -> str:
    return progress.stage.unit if progress.stage else "items"


def _failed(progress: DatasetProgress) -> str:
    # Where stages count different things, nobody knows which of them failed.
    units = {stage.unit for stage in progress.stages if stage.started_at is not None}
    unit = units.pop() if len(units) == 1 else "items"
    return f"{plural(progress.failed, unit)} failed" if progress.failed else ""


def _counted(progress: DatasetProgress) -> str:
    """Return what a run that is ready has counted: ``10 files``; ``5 of 10 files`` where more was planned."""
    if progress.stage is not None and progress.stage.planned > progress.current:
        return _of(progress, progress.stage.planned)
    return amount(progress.total, _unit(progress)) if progress.total else ""


def _count(progress: DatasetProgress) -> str:
    return _of(progress, progress.total) if progress.total else ""


def _of(progress: DatasetProgress, total: int) -> str:
    unit = _unit(progress)
    return f"{figure(progress.current, unit)} of {amount(total, unit)}"


def extent(progress: DatasetProgress) -> str:
    """Return which run of a dataset is under way, and how far it is: ``run 3, Indexing, 45 of 100 files``."""
    label = stage_label(progress.stage) if progress.stage else "not started"
    return ", ".join(part for part in (f"run {progress.run}", label, _count(progress)) if part)


def _mid_sentence(label: str) -> str:
    """Return ``label`` with a small first letter, unless it begins with an abbreviation such as CLIP."""
    return label if label[1:2].isupper() else label[:1].lower() + label[1:]


def condition(progress: DatasetProgress) -> str:
    """Return what is out of the ordinary with an unfinished run, in two words; empty if nothing is."""
    if progress.requested in REQUESTED:
        return REQUESTED[progress.requested]
    if is_held(progress) or progress.health is None:
        return ""
    return WORDS.get(progress.health, "")


def _working(progress: DatasetProgress, silence: str) -> list[str]:
    if progress.requested in REQUESTED:
        return [f"{REQUESTED[progress.requested]} at the worker's next report"]
    if is_held(progress):
        return []
    if progress.is_waiting:
        return ["waiting for a worker"]
    slow = ""
    match progress.health:
        case "lost":
            return [f"no contact for {silence}"]
        case "stalled":
            return [f"no progress, on this item for {silence}"]
        case "slow" if progress.silent_since is not None:
            return [f"slow, nothing heard for {silence}"]
        case "slow":
            slow = "slower than usual"
    left = f"{time_left(progress.eta_seconds)} left" if progress.eta_seconds else ""
    return [slow, left, _silent(progress)]


def _silent(progress: DatasetProgress) -> str:
    """Return how many of the workers are silent; empty where none is, or all are and the run is not live either."""
    silent, active = progress.workers.silent, progress.workers.active
    is_shown = silent and (active or progress.health == "live")
    return f"{silent} of {plural(silent + active, 'workers')} silent" if is_shown else ""


def in_a_row(progress: DatasetProgress, silence: str) -> str:
    """Return what the list says of a dataset beside its bar: the stage, or what is wrong, or what came of it.

    ``silence``: as for `sentence`.
    """
    if progress.run is None:
        return "Not processed yet"
    if word := REQUESTED.get(progress.requested):
        return word
    match progress.state:
        case State.READY:
            seconds = run_seconds(progress)
            took = duration(seconds) if seconds is not None else ""
            return " · ".join(part for part in (_counted(progress), took) if part) or "Ready"
        case State.ERROR if progress.cancelled:
            return "Cancelled"
        case State.ERROR:
            return (progress.error or "Failed").strip().partition("\n")[0]
    if is_held(progress):
        return "Paused"
    if progress.is_waiting:
        return "Queued" if progress.state == State.PENDING else "Waiting for a worker"
    match progress.health:
        case "lost":
            return f"No contact for {silence}"
        case "stalled":
            return f"No progress for {silence}"
    return stage_label(progress.stage) if progress.stage else "Queued"


def result(progress: DatasetProgress) -> str:
    """Return what came of a run that is ready: ``300 samples · 7 seconds · 3 failed · 1,800 unchanged``."""
    seconds = run_seconds(progress)
    parts = [
        _counted(progress),
        duration(seconds) if seconds is not None else "",
        f"{progress.failed:,} failed" if progress.failed else "",
        f"{progress.skipped:,} unchanged" if progress.skipped else "",
    ]
    return " · ".join(part for part in parts if part)


def workers(progress: DatasetProgress) -> str:
    """Return how many workers are at the stage under way: ``12 workers, 1 silent``; empty where none has a share."""
    silent, all_of_them = progress.workers.silent, progress.workers.active + progress.workers.silent
    if not progress.is_working or not all_of_them:
        return ""
    return f"{plural(all_of_them, 'workers')}{f', {silent} silent' if silent else ''}"


def run_seconds(progress: DatasetProgress) -> float | None:
    """Return how long a finished run took; None for one that is working, and where no stage ever began."""
    if progress.stage is None or progress.started_at is None or progress.finished_at is None:
        return None
    return (progress.finished_at - progress.started_at).total_seconds()


def sentence(progress: DatasetProgress, silence: str) -> str:
    """Return what the bar beside it does not say of a dataset, in one line; empty where the bar says it all.

    ``silence``: the time since ``silent_since``, in words. Only a run that is stalled, silent or lost has one.
    """
    if progress.run is None:
        return "Not processed yet"
    match progress.state:
        case State.PENDING:
            parts = ["Paused before it started" if progress.paused else "Queued, waiting for a worker"]
        case State.READY:
            return result(progress)
        case State.ERROR:
            verb = "Cancelled" if progress.cancelled else "Failed"
            label = _mid_sentence(stage_label(progress.stage)) if progress.stage else ""
            count = _count(progress)
            parts = [
                f"{verb} while {label}" if label else f"{verb} before it started",
                f"after {count}" if count else "",
            ]
        case _:
            parts = _working(progress, silence)
    line = ", ".join(part for part in [*parts, _failed(progress)] if part)
    line = capfirst(line)
    is_lost = progress.health == "lost" and not progress.paused
    return f"{line}. It goes on when the worker reports again." if is_lost else line
