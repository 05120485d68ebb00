"""What the two progress components show: pure functions that turn a state and its counts into a `Bar`.

The templates only lay a bar out. Its labels, colours and counter are described in docs/components.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from apps.progress.health import Health
from apps.progress.percentage import whole, whole_of
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

# Of a run that stands still because somebody wanted it to.
_STILL: Final = LOOKS[State.PENDING]
# The largest segment of a bar grows by so much; the stylesheet has a class for each whole number up to it.
_WIDEST: Final = 100

PROPS: Final = frozenset({"state", "current", "total", "message", "error", "class"})


class Sign(StrEnum):
    """The icon beside a label. Pending has none."""

    NONE = ""
    WORKING = "working"
    READY = "ready"
    ERROR = "error"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    LOST = "lost"


_SIGNS: Final = {State.PENDING: Sign.NONE, State.READY: Sign.READY, State.ERROR: Sign.ERROR}


@dataclass(frozen=True, slots=True)
class Segment:
    """The part of a bar that stands for one stage. ``grow``: its weight beside the others'; ``fill``: in percent."""

    grow: int
    fill: int
    indeterminate: bool = False

    @property
    def grow_class(self) -> str:
        return f"grow-{self.grow}"

    @property
    def fill_class(self) -> str:
        return f"scale-x-{self.fill}"


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar, ready for its template.

    ``fill`` is the width in percent. ``percent`` is None and the counters are empty where the state shows none.
    ``segments`` are those of a run of several planned stages: then ``fill`` is that of the whole run.
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
    sign: Sign = Sign.NONE
    segments: tuple[Segment, ...] = ()

    @property
    def is_working(self) -> bool:
        return self.state in WORKING

    @property
    def figure(self) -> str:
        """How far it is, for the list: the percentage of the run, or the count where the total is not known."""
        if self.indeterminate or self.state in (State.PENDING, State.READY):
            count = self.counter.removesuffix(" so far")
            return f"{int(count):,}" if count.isdecimal() else count
        return f"{self.fill}%"

    @property
    def error_summary(self) -> str:
        """The first line of the error."""
        return self.error.strip().partition("\n")[0]

    @property
    def error_details(self) -> str:
        """The error without its first line, with its white space."""
        return self.error.strip().partition("\n")[2].strip("\n")

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
    animated: bool = True, sign: Sign | None = None, still: bool = False,
) -> Bar:  # fmt: skip
    """Return the bar of ``state`` at ``current`` of ``total``.

    A total of 0 in a working state means that the total is not known yet: the bar shows no percentage and only counts.
    ``unit``: bytes are counted in kB, MB or GB. ``label`` replaces the label of the state in both components. Pass
    ``animated=False`` for a run that is in a working state but does not advance, and ``still=True`` for one that is
    grey because somebody paused or cancelled it. ``sign`` replaces the icon of the state.

    An error keeps the length that the bar had.
    """
    look = (
        replace(_STILL, label=LOOKS[state].label, compact_label=LOOKS[state].compact_label) if still else LOOKS[state]
    )
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
        fill=_fill(state, current, total),
        percent=percent,
        counter=counter,
        compact_counter=compact_counter,
        value_text=f"{name}: {counter}" if counter else name,
        compact_value_text=f"{compact_name}: {compact_counter}" if compact_counter else compact_name,
        indeterminate=indeterminate,
        is_moving=working and animated and not still,
        message=message,
        error=error,
        extra_class=extra_class,
        dataset_id=dataset_id,
        version=version,
        epoch=epoch,
        sign=_SIGNS.get(state, Sign.WORKING) if sign is None else sign,
    )


def _fill(state: State, current: int, total: int) -> int:
    if state in (State.PENDING, State.READY):
        return 100 if state == State.READY else 0
    return whole(current, total) if total > 0 else 0


def is_held(progress: DatasetProgress) -> bool:
    """Return whether a run is paused, and its reporter knows."""
    return progress.paused and progress.requested != "pause"


def is_animated(progress: DatasetProgress) -> bool:
    """Return whether the bars of a working run may move: not while it is paused or makes no progress."""
    return not is_held(progress) and progress.health not in ("stalled", "lost")


def bar_of(progress: DatasetProgress, extra_class: str = "") -> Bar:
    """Return the bar of a dataset, labelled with the active stage's own label if it has one.

    With several planned stages, its segments show the whole run. One that was paused or cancelled is grey, and says so
    in place of the stage.
    """
    stage = progress.stage
    label, sign = stage.label if stage is not None and progress.is_working else "", None
    held = is_held(progress)
    if held and not progress.is_finished:
        label, sign = "Paused", Sign.PAUSED
    elif progress.cancelled:
        label, sign = "Cancelled", Sign.CANCELLED
    elif progress.health == Health.LOST:
        sign = Sign.LOST
    bar = make_bar(
        progress.state,
        progress.current,
        progress.total,
        unit=stage.unit if stage is not None else "",
        label=label,
        message=progress.message,
        error="" if progress.cancelled and progress.error == "Cancelled." else progress.error or "",
        extra_class=extra_class,
        dataset_id=progress.dataset_id,
        version=progress.version,
        epoch=progress.epoch,
        animated=is_animated(progress),
        sign=sign,
        still=held or progress.cancelled,
    )
    return _over_the_run(bar, progress)


def _over_the_run(bar: Bar, progress: DatasetProgress) -> Bar:
    """Let a bar of several planned stages show the whole run."""
    segments = segments_of(progress)
    if progress.percent is None or not segments:
        return bar
    percent = whole_of(progress.percent)
    of_the_run = f", {percent}% of the run" if bar.is_working else ""
    return replace(
        bar,
        segments=segments,
        fill=percent,
        indeterminate=False,
        value_text=bar.value_text + of_the_run,
        compact_value_text=bar.compact_value_text + of_the_run,
    )


def segments_of(progress: DatasetProgress) -> tuple[Segment, ...]:
    """Return a segment for each stage of an unfinished or failed run; empty where the plan has one stage, or none."""
    weights = [stage.weight for stage in progress.stages]
    if len(weights) < 2 or progress.state == State.READY or min(weights) <= 0:
        return ()
    return tuple(
        Segment(max(round(_WIDEST * stage.weight / max(weights)), 1), *_segment_fill(stage))
        for stage in progress.stages
    )


def _segment_fill(stage: StageProgress) -> tuple[int, bool]:
    """Return the fill of a stage's segment in percent, and whether nobody knows how far it is."""
    total = stage.total or stage.expected
    match stage.state:
        case StageState.DONE:
            return 100, False
        case StageState.WAITING:
            return 0, False
        case StageState.ACTIVE:
            return (whole(stage.current, total), False) if total else (0, True)
    return (whole(stage.current, stage.planned) if stage.planned else 0), False


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


def bar_of_stage(stage: StageProgress, *, animated: bool = True, still: bool = False) -> Bar:
    """Return the small bar of one stage, in the colours of the state that it counts as, or of how it ended.

    ``still``: the run is paused, so the active stage is grey. A stage that failed, was skipped or ended before all that
    was planned shows how far it came.
    """
    state = _INACTIVE_STAGE.get(stage.state, State(stage.counts_as))
    bar = make_bar(
        state, stage.current, stage.total, unit=stage.unit, label=stage_label(stage), animated=animated,
        still=still and stage.state == StageState.ACTIVE,
    )  # fmt: skip
    if stage.state in (StageState.DONE, StageState.FAILED, StageState.SKIPPED) and stage.planned:
        return replace(bar, fill=whole(stage.current, stage.planned))
    return bar
