"""What the two progress components show: pure functions that turn a state and its counts into a `Bar`.

The templates only lay a bar out. Its labels, colours and counter are described in docs/components.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from apps.progress.percentage import whole
from apps.progress.snapshot import CurrentStage, DatasetProgress, StageProgress
from apps.progress.transitions import WORKING, StageState, State

from .amounts import BYTES, size


@dataclass(frozen=True, slots=True)
class Look:
    """The labels and colours of a state. Tailwind reads this file, so it needs the class names in full."""

    label: str
    compact_label: str
    bar: str
    text: str


LOOKS: Final[dict[State, Look]] = {
    State.PENDING: Look("Pending", "Pending", "bg-gray-400", "text-gray-600 dark:text-gray-450"),
    State.INDEXING: Look("Indexing", "Indexing", "bg-blue-500", "text-blue-600 dark:text-blue-400"),
    State.EMBEDDING: Look(
        "Generating Embeddings", "Processing", "bg-purple-500", "text-purple-600 dark:text-purple-400"
    ),
    State.READY: Look("Ready", "Ready", "bg-green-500", "text-green-600 dark:text-green-400"),
    State.ERROR: Look("Error", "Error", "bg-red-500", "text-red-600 dark:text-red-400"),
}

# The names of the states everywhere but on the two components.
STATE_NAMES: Final[dict[State, str]] = {
    State.PENDING: "Pending",
    State.INDEXING: "Indexing",
    State.EMBEDDING: "Generating embeddings",
    State.READY: "Ready",
    State.ERROR: "Error",
}

# Which state's colours the bar of a stage has while the stage is not active.
_INACTIVE_STAGE: Final[dict[StageState, State]] = {
    StageState.WAITING: State.PENDING,
    StageState.DONE: State.READY,
    StageState.FAILED: State.ERROR,
    StageState.SKIPPED: State.PENDING,
}

PROPS: Final = frozenset({"state", "current", "total", "message", "error", "class"})


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar, ready for its template.

    ``fill`` is the width in percent. ``percent`` is None and the counters are empty where the state shows none.
    """

    state: State
    label: str
    compact_label: str
    look: Look
    fill: int
    percent: int | None
    counter: str
    compact_counter: str
    value_text: str
    compact_value_text: str
    indeterminate: bool
    is_moving: bool
    message: str = ""
    error: str = ""
    extra_class: str = ""
    dataset_id: str = ""
    version: int | None = None
    epoch: str = ""

    @property
    def is_working(self) -> bool:
        return self.state in WORKING

    @property
    def fill_class(self) -> str:
        """The class that sets the width; the stylesheet has one for each percent."""
        return f"scale-x-{self.fill}"


def clamp(current: int, total: int) -> tuple[int, int]:
    """Return both counts in range: ``total`` at least 1, ``current`` from 0 to ``total``."""
    total = max(total, 1)
    return min(max(current, 0), total), total


def _counter(count: int, unit: str) -> str:
    return size(count) if unit in BYTES else str(count)


def parse_state(state: object) -> State:
    """Return the `State` of that name. Raises `ValueError` with the names there are."""
    try:
        return State(str(state))
    except ValueError:
        names = ", ".join(known.value for known in State)
        raise ValueError(f"{state!r} is not a state of a dataset. Use one of {names}.") from None


def make_bar(
    state: State, current: int = 0, total: int = 100, *, unit: str = "", label: str = "", message: str = "",
    error: str = "", extra_class: str = "", dataset_id: str = "", version: int | None = None, epoch: str = "",
    animated: bool = True,
) -> Bar:  # fmt: skip
    """Return the bar of ``state`` at ``current`` of ``total``.

    A total of 0 in a working state means that the total is not known yet: the bar shows no percentage and only counts.
    ``unit``: bytes are counted in kB, MB or GB. ``label`` replaces the label of the state in both components. Pass
    ``animated=False`` for a run that is in a working state but does not advance.
    """
    look = LOOKS[state]
    working = state in WORKING
    indeterminate = working and total == 0
    shown_current, shown_total = clamp(current, total)
    percent = whole(current, total) if working and not indeterminate else None
    if percent is not None:
        counts = f"{_counter(shown_current, unit)}/{_counter(shown_total, unit)}"
        counter, compact_counter = f"{percent}% ({counts})", f"{percent}%"
    else:
        counter, compact_counter = (f"{_counter(current, unit)} so far" if indeterminate and current > 0 else ""), ""
    name, compact_name = label or look.label, label or look.compact_label
    return Bar(
        state=state,
        label=name,
        compact_label=compact_name,
        look=look,
        fill=100 if state == State.READY else percent or 0,
        percent=percent,
        counter=counter,
        compact_counter=compact_counter,
        value_text=f"{name}: {counter}" if counter else name,
        compact_value_text=f"{compact_name}: {compact_counter}" if compact_counter else compact_name,
        indeterminate=indeterminate,
        is_moving=working and animated,
        message=message,
        error=error,
        extra_class=extra_class,
        dataset_id=dataset_id,
        version=version,
        epoch=epoch,
    )


def is_animated(progress: DatasetProgress) -> bool:
    """Return whether the bars of a working run may move: not while it is paused or makes no progress."""
    return not progress.paused and progress.health not in ("stalled", "lost")


def bar_of(progress: DatasetProgress, extra_class: str = "") -> Bar:
    """Return the bar of a dataset, labelled with the active stage's own label if it has one."""
    stage = progress.stage
    return make_bar(
        progress.state,
        progress.current,
        progress.total,
        unit=stage.unit if stage is not None else "",
        label=stage.label if stage is not None and progress.is_working else "",
        message=progress.message,
        error=progress.error or "",
        extra_class=extra_class,
        dataset_id=progress.dataset_id,
        version=progress.version,
        epoch=progress.epoch,
        animated=is_animated(progress),
    )


def bar_of_props(props: dict[str, Any]) -> Bar:
    """Return the bar of single props, as the template tags take them.

    Raises `ValueError` for an unknown prop, a missing or unknown state, and counts that are not whole numbers.
    """
    if unknown := set(props) - PROPS:
        raise ValueError(f"Unknown: {', '.join(sorted(unknown))}. A progress bar accepts {', '.join(sorted(PROPS))}.")
    if "state" not in props:
        raise ValueError("A progress bar needs a DatasetProgress or a state.")
    try:
        current, total = int(props.get("current", 0)), int(props.get("total", 100))
    except (TypeError, ValueError):
        raise ValueError("current and total of a progress bar must be whole numbers.") from None
    return make_bar(
        parse_state(props["state"]),
        current,
        total,
        message=str(props.get("message") or ""),
        error=str(props.get("error") or ""),
        extra_class=str(props.get("class") or ""),
    )


def stage_label(stage: CurrentStage) -> str:
    """Return the label of a stage: its own, or the name of the state that it counts as."""
    return stage.label or STATE_NAMES[State(stage.counts_as)]


def bar_of_stage(stage: StageProgress, *, animated: bool = True) -> Bar:
    """Return the small bar of one stage, in the colours of the state that it counts as, or of how it ended.

    A stage that failed, was skipped or ended before all that was planned shows how far it came.
    """
    state = _INACTIVE_STAGE.get(stage.state, State(stage.counts_as))
    bar = make_bar(state, stage.current, stage.total, unit=stage.unit, label=stage_label(stage), animated=animated)
    if stage.state in (StageState.DONE, StageState.FAILED, StageState.SKIPPED) and stage.planned:
        return replace(bar, fill=whole(stage.current, stage.planned))
    return bar
