"""What the commands say of a dataset, in the words and numbers of the server's pages. Pure functions."""

from __future__ import annotations

from typing import Any

from dataset_progress._errors import ProgressError, Refused
from dataset_progress._progress import Progress
from dataset_progress._values import number

from .amounts import amount, figure, percent, rate

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_STATES = {"indexing": "Indexing", "embedding": "Generating embeddings"}
_HEALTH = {"slow": "Slow", "stalled": "No progress", "lost": "No contact"}


def percentage(progress: Progress) -> int | None:
    """Return how much of the stage under way is done, in whole percents; None if unknown, or if none is under way."""
    is_shown = progress.state in _STATES and progress.total > 0
    return percent(progress.current, progress.total) if is_shown else None


def whole_run(progress: Progress) -> str:
    """Return how much is done of a run of several stages: ``whole run 45%``; "" if unknown, or if none works."""
    stages = progress.details.get("stages") or ()
    is_shown = percentage(progress) is not None and progress.percent is not None and len(stages) > 1
    return f"whole run {percent(progress.percent or 0, 100)}%" if is_shown else ""


def stage_label(progress: Progress) -> str:
    """Return the stage under way, or the one that was; "" if there was none."""
    stage = _stage(progress)
    return str(stage.get("label") or _STATES.get(str(stage.get("counts_as")), "")) if stage else ""


def condition(progress: Progress) -> str:
    """Return what a dataset is at: its stage, or that it waits, is paused or has ended."""
    match progress.state:
        case "pending":
            is_new = progress.details.get("run") is None
            is_paused = progress.details.get("paused")
            return "Not processed yet" if is_new else "Paused" if is_paused else "Queued"
        case "ready":
            return "Ready"
        case "error":
            return "Cancelled" if progress.details.get("cancelled") else "Failed"
    if is_waiting(progress):
        return "Waiting for a worker"
    return "Paused" if progress.details.get("paused") else stage_label(progress) or "Working"


def unknown(error: ProgressError | None) -> str:
    """Return what a dataset is at of which nothing is known yet, or, with an ``error``, ever."""
    if error is None:
        return "Waiting"
    return "Not found" if isinstance(error, Refused) and error.status == 404 else "Not reached"


def is_waiting(progress: Progress) -> bool:
    """Whether a run that has begun waits for a worker: the server then tells no health."""
    details = progress.details
    return progress.state in _STATES and not details.get("paused") and "health" in details and not details["health"]


def health(progress: Progress) -> str:
    """Return what a run that works lacks; "" if it lacks nothing."""
    return "" if progress.details.get("paused") else _HEALTH.get(str(progress.details.get("health")), "")


def count(progress: Progress) -> str:
    """Return how many items are done: ``45 of 100 files``, ``45 files``; "" if no stage has begun."""
    stage = _stage(progress)
    if not stage:
        return ""
    unit = str(stage.get("unit", "items"))
    planned = progress.planned if progress.state == "ready" else progress.total
    if planned and (progress.state != "ready" or planned > progress.current):
        return f"{figure(progress.current, unit)} of {amount(planned, unit)}"
    return amount(progress.current, unit)


def speed(progress: Progress) -> str:
    """Return the items per second, minute or hour; "" if unknown."""
    per_second = number(progress.details.get("rate"))
    return rate(per_second, str(_stage(progress).get("unit", "items"))) if per_second else ""


def time_left(progress: Progress) -> str:
    """Return how long the run will take, no more precise than the estimate is: ``3 to 5 minutes``; "" if unknown."""
    eta = progress.details.get("eta_seconds")
    if not isinstance(eta, dict):
        return ""
    low, high = number(eta.get("low")) or 0, number(eta.get("high")) or 0
    return "less than a minute" if high < 50 else _range(low, high)


def silent(progress: Progress) -> str:
    """Return how many of the workers are silent: ``1 of 12 workers silent``.

    "" where none is, or all are and the run is not live either.
    """
    workers = progress.details.get("workers")
    if not isinstance(workers, dict) or progress.state not in _STATES:
        return ""
    number_silent, active = int(number(workers.get("silent")) or 0), int(number(workers.get("active")) or 0)
    is_shown = number_silent and (active or progress.details.get("health") == "live")
    return f"{number_silent} of {amount(number_silent + active, 'workers')} silent" if is_shown else ""


def failed(progress: Progress) -> int:
    """Return how many items could not be processed."""
    return int(number(progress.details.get("failed")) or 0)


def trouble(dataset_id: str, error: ProgressError) -> str:
    """Say why a dataset cannot be read."""
    if isinstance(error, Refused):
        if error.status == 404:
            return f"{dataset_id}: there is no such dataset, or the token may not see it"
        return f"{dataset_id}: the server refused: {error} ({error.code or error.status})"
    return f"{dataset_id}: the server cannot be reached: {error}"


def _stage(progress: Progress) -> dict[str, Any]:
    stage = progress.details.get("stage")
    return stage if isinstance(stage, dict) else {}


def _range(low: float, high: float) -> str:
    """Return a range of seconds in the unit of its upper end: ``about 4 minutes``, ``3 to 5 minutes``."""
    size, unit = (
        (_MINUTE, "minutes") if high < 90 * _MINUTE else (_HOUR, "hours") if high < 2 * _DAY else (_DAY, "days")
    )
    first, last = max(round(low / size), 1), max(round(high / size), 1)
    return f"about {amount(last, unit)}" if first == last else f"{first} to {amount(last, unit)}"
