"""What the two progress components show: pure functions from a state and its counts to a frozen view of a bar.

The templates only lay it out. Labels, colours and the form of the counter are the contract's (DESIGN 2.1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from apps.progress.snapshot import CurrentStage, DatasetProgress, StageProgress
from apps.progress.transitions import WORKING, StageState, State


@dataclass(frozen=True, slots=True)
class Look:
    """How a state is called and coloured. The classes stand here in full, where Tailwind finds them."""

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

# How the bar of a stage is coloured once it is no longer under way.
_STAGE_AFTER: Final[dict[StageState, State]] = {
    StageState.WAITING: State.PENDING,
    StageState.DONE: State.READY,
    StageState.FAILED: State.ERROR,
    StageState.SKIPPED: State.PENDING,
}

PROPS: Final = frozenset({"state", "current", "total", "message", "error", "class"})


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar as its template needs it. ``percent`` and the counters are empty where the state shows none."""

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

    @property
    def is_working(self) -> bool:
        return self.state in WORKING

    @property
    def fill_class(self) -> str:
        """The class of the bar's width: one of the 101 that the stylesheet has."""
        return f"scale-x-{self.fill}"


def clamp(current: int, total: int) -> tuple[int, int]:
    """The counts as they may be shown: ``total`` at least 1, ``current`` from 0 to ``total``."""
    total = max(total, 1)
    return min(max(current, 0), total), total


def percentage(current: int, total: int) -> int:
    """The whole percent that ``current`` is of ``total``, both clamped, half a percent rounded up."""
    current, total = clamp(current, total)
    return (200 * current + total) // (2 * total)


def parse_state(state: object) -> State:
    """``state`` as one of the five words. Raises `ValueError` that names them."""
    try:
        return State(str(state))
    except ValueError:
        words = ", ".join(word.value for word in State)
        raise ValueError(f"{state!r} is no state of a dataset: it is one of {words}.") from None


def make_bar(
    state: State, current: int = 0, total: int = 100, *, label: str = "", message: str = "", error: str = "",
    extra_class: str = "", dataset_id: str = "", version: int | None = None, still: bool = False,
) -> Bar:  # fmt: skip
    """The bar of ``state`` at ``current`` of ``total``.

    A total of 0 while working is one that is not known yet: the bar has no percentage and says how many there are so
    far. ``label`` stands in place of the state's own, in both components. ``still`` takes the motion from a bar
    whose run works but stands: one that is paused, or has not been heard of.
    """
    look = LOOKS[state]
    working = state in WORKING
    indeterminate = working and total == 0
    shown, whole = clamp(current, total)
    percent = percentage(current, total) if working and not indeterminate else None
    if percent is not None:
        counter, compact_counter = f"{percent}% ({shown}/{whole})", f"{percent}%"
    else:
        counter, compact_counter = (f"{current} so far" if indeterminate and current > 0 else ""), ""
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
        is_moving=working and not still,
        message=message,
        error=error,
        extra_class=extra_class,
        dataset_id=dataset_id,
        version=version,
    )


def is_still(progress: DatasetProgress) -> bool:
    """Whether a run stands although its state is a working one: then nothing on its bars moves."""
    return progress.paused or progress.health in ("stalled", "lost")


def bar_of(progress: DatasetProgress, extra_class: str = "") -> Bar:
    """The bar of a dataset: its stage's own label while working, its message and error as they are."""
    stage = progress.stage
    return make_bar(
        progress.state,
        progress.current,
        progress.total,
        label=stage.label if stage is not None and progress.is_working else "",
        message=progress.message,
        error=progress.error or "",
        extra_class=extra_class,
        dataset_id=progress.dataset_id,
        version=progress.version,
        still=is_still(progress),
    )


def bar_of_props(props: dict[str, Any]) -> Bar:
    """The bar of single props, as the template tags take them.

    Raises `ValueError` for an unknown prop, no state or one that is none, and counts that are no numbers.
    """
    if unknown := set(props) - PROPS:
        raise ValueError(f"Unknown: {', '.join(sorted(unknown))}. A progress bar takes {', '.join(sorted(PROPS))}.")
    if "state" not in props:
        raise ValueError("A progress bar needs a DatasetProgress or a state.")
    try:
        current, total = int(props.get("current", 0)), int(props.get("total", 100))
    except (TypeError, ValueError):
        raise ValueError("current and total of a progress bar are whole numbers.") from None
    return make_bar(
        parse_state(props["state"]),
        current,
        total,
        message=str(props.get("message") or ""),
        error=str(props.get("error") or ""),
        extra_class=str(props.get("class") or ""),
    )


def stage_label(stage: CurrentStage) -> str:
    """The label of a stage: its own, or the name of the state that it counts as."""
    return stage.label or STATE_NAMES[State(stage.counts_as)]


def bar_of_stage(stage: StageProgress, still: bool = False) -> Bar:
    """The small bar of one stage: coloured as what it counts as while it is active, else as how it ended.

    One that was stopped stays as long as it was: it tells how far the stage came.
    """
    state = _STAGE_AFTER.get(stage.state, State(stage.counts_as))
    bar = make_bar(state, stage.current, stage.total, label=stage_label(stage), still=still)
    if stage.state in (StageState.FAILED, StageState.SKIPPED) and stage.total:
        return replace(bar, fill=percentage(stage.current, stage.total))
    return bar
