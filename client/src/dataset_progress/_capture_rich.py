"""Report the bars of `rich.progress`, by wrapping public methods of its class `Progress`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rich.errors import MarkupError
from rich.progress import Progress, Task
from rich.text import Text

from . import _values as values
from ._capture import Captures
from ._counting import Words
from ._following import CounterFollower, Region
from ._stages import label_of_description, stage_of_description

WRAPPED = ("add_task", "advance", "update", "reset", "remove_task", "stop", "track")
# The attribute of a `Progress` with the followers of its tasks, by task id. A task is followed once.
FOLLOWERS = "dataset_progress_followers"

# The methods that `Progress.track` calls itself. They must neither wait nor raise: it does so for each item.
_inside_track = Region()


class TaskCounter:
    """Counts what a task of rich counts. ``in_hand``: 1 while `track` iterates over it."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self.in_hand = 0

    @property
    def done(self) -> float:
        return values.number(self._task.completed) or 0

    @property
    def total(self) -> float | None:
        return values.number(self._task.total)

    @property
    def is_fractional(self) -> bool:
        return self.done % 1 != 0 or (self.total or 0) % 1 != 0

    @property
    def words(self) -> Words:
        return Words(label=label_of_description(_plain(self._task.description)))


class TaskFollower(CounterFollower):
    """Reports one task."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.counter: TaskCounter = arguments[1]

    def end(self) -> None:
        """Stop, because the bar was ended."""
        self.stop(was_left=not self.is_over)


def _plain(description: str) -> str:
    try:
        return Text.from_markup(description).plain
    except MarkupError:
        return description


def _followers(progress: Progress) -> dict[int, TaskFollower]:
    followers: dict[int, TaskFollower] = vars(progress).setdefault(FOLLOWERS, {})
    return followers


def _follow(progress: Progress, task_id: int) -> TaskFollower | None:
    """Return what follows a task; None if another bar is followed."""
    if (follower := _followers(progress).get(task_id)) is not None:
        return follower if follower.is_following else None
    if (capture := captures.newest) is None:
        return None
    task = next((task for task in progress.tasks if task.id == task_id), None)
    if task is None:
        return None
    stage = stage_of_description(_plain(task.description))
    follower = capture.follow(lambda: TaskFollower(capture.run, TaskCounter(task), stage))
    if follower is not None:
        _followers(progress)[task_id] = follower
    return follower


def _hold(follower: TaskFollower | None) -> None:
    # `track` of a bar that is drawn by itself counts in a thread of rich.
    is_of_rich = type(threading.current_thread()).__module__ == "rich.progress"
    if follower is not None and not _inside_track.depth and not is_of_rich:
        follower.hold()


def _wrap() -> Callable[[], None]:
    """Wrap the methods. Return a function that puts them back."""
    originals: list[Callable[..., Any]] = [getattr(Progress, name) for name in WRAPPED]
    original_add, original_advance, original_update, original_reset, original_remove, original_stop, original_track = (
        originals
    )

    def add_task(progress: Progress, *args: Any, **options: Any) -> Any:
        task_id = original_add(progress, *args, **options)
        _follow(progress, task_id)
        return task_id

    def advance(progress: Progress, task_id: Any, *args: Any, **options: Any) -> None:
        original_advance(progress, task_id, *args, **options)
        _hold(_follow(progress, task_id))

    def update(progress: Progress, task_id: Any, *args: Any, **options: Any) -> None:
        original_update(progress, task_id, *args, **options)
        _hold(_follow(progress, task_id))

    def reset(progress: Progress, task_id: Any, *args: Any, **options: Any) -> None:
        if (follower := _followers(progress).pop(task_id, None)) is not None:
            follower.stop()
        original_reset(progress, task_id, *args, **options)
        _follow(progress, task_id)

    def remove_task(progress: Progress, task_id: Any) -> None:
        if (follower := _followers(progress).pop(task_id, None)) is not None and follower.is_following:
            follower.end()
        original_remove(progress, task_id)

    def stop(progress: Progress) -> None:
        original_stop(progress)
        for follower in list(_followers(progress).values()):
            if follower.is_following:
                follower.end()

    def track(progress: Progress, *args: Any, **options: Any) -> Iterable[Any]:
        ids = set(progress.task_ids)
        items = iter(original_track(progress, *args, **options))
        follower: TaskFollower | None = None
        try:
            while True:
                with _inside_track:
                    try:
                        item = next(items)
                    except StopIteration:
                        return
                if follower is None:
                    given = options.get("task_id", args[3] if len(args) > 3 else None)
                    new = [given] if given is not None else [each for each in progress.task_ids if each not in ids]
                    follower = _follow(progress, new[-1]) if new else None
                    if follower is not None:
                        follower.counter.in_hand = 1
                _hold(follower)
                yield item
        finally:
            _end_track(items, follower)

    for name, wrapped in zip(WRAPPED, (add_task, advance, update, reset, remove_task, stop, track), strict=True):
        setattr(Progress, name, wrapped)

    def unwrap() -> None:
        for name, original in zip(WRAPPED, originals, strict=True):
            setattr(Progress, name, original)

    return unwrap


def _end_track(items: Iterator[Any], follower: TaskFollower | None) -> None:
    """End a loop of `track`, which has counted the last items once its generator is closed."""
    with _inside_track:
        if (close := getattr(items, "close", None)) is not None:
            close()
    if follower is not None:
        is_complete = follower.is_over or follower.counter.total is None
        follower.stop(was_left=not is_complete)
        follower.counter.in_hand = 0


captures = Captures(_wrap)
