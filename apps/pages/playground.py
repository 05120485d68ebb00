"""The playground of staff: each component in each state, and the forms that set a state by hand or simulate a run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django import forms

from apps.datasets.dataset_ids import is_dataset_id
from apps.progress.facts import Facts
from apps.progress.reports import MAX_COUNT, Report
from apps.progress.snapshot import DatasetProgress, StageProgress, Workers, snapshot
from apps.progress.transitions import State
from apps.simulation.plan import MOST_STAGES, MOST_WORKERS, Plan
from apps.simulation.reporter import ERROR

DATASET: Final = "playground"
_NO_HELP: Final = {"spellcheck": "false", "autocapitalize": "none", "autocomplete": "off"}


# --- Forms ------------------------------------------------------------------------------------------------------------


class DatasetForm(forms.Form):
    """Which dataset, and how its bar is kept in step."""

    MODES: Final = [("websocket", "WebSocket"), ("polling", "Polling"), ("manual", "Manual")]

    dataset = forms.CharField(max_length=128, widget=forms.TextInput(attrs=_NO_HELP), initial=DATASET)
    mode = forms.ChoiceField(choices=MODES, initial=MODES[0][0], widget=forms.RadioSelect)

    def clean_dataset(self) -> str:
        dataset_id: str = self.cleaned_data["dataset"]
        if not is_dataset_id(dataset_id):
            raise forms.ValidationError("Use letters, digits, dots, dashes and underscores.")
        return dataset_id


class NewRunForm(forms.Form):
    """Ends with the choice of a new run in place of the one that is open."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        label = "Begin a new run, and cancel the one that is open"
        self.fields["new_run"] = forms.BooleanField(required=False, label=label)


class ByHandForm(NewRunForm):
    """What a reporter would say. Empty fields say nothing."""

    state = forms.ChoiceField(
        choices=[(state.value, state.value.capitalize()) for state in State], initial=State.INDEXING.value
    )
    current = forms.IntegerField(min_value=0, max_value=MAX_COUNT, initial=45, required=False)
    total = forms.IntegerField(min_value=0, max_value=MAX_COUNT, initial=100, required=False, help_text="0: not known.")
    message = forms.CharField(max_length=1000, required=False)
    error = forms.CharField(max_length=10_000, required=False, help_text="Of the state Error.")

    def report(self) -> Report:
        """Return what a valid form says. Counts are said of the two working states alone."""
        data = self.cleaned_data
        state = State(data["state"])
        works = state in (State.INDEXING, State.EMBEDDING)
        return Report(
            state=state,
            current=data["current"] if works else None,
            total=data["total"] if works else None,
            message=data["message"],
            error=(data["error"] or "Set by hand.") if state == State.ERROR else None,
        )


class SimulationForm(NewRunForm):
    """The plan of a simulation."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"auto_id": "id_simulation_%s", **kwargs})  # it stands beside the other form

    speed = forms.FloatField(min_value=0.01, max_value=1_000, initial=1, help_text="At 1 it takes 30 s.")
    stages = forms.IntegerField(min_value=1, max_value=MOST_STAGES, initial=2)
    workers = forms.IntegerField(min_value=1, max_value=MOST_WORKERS, initial=1)
    fail_at = forms.FloatField(min_value=0, max_value=100, required=False, label="Fail at, in percent")
    stall = forms.FloatField(min_value=0, max_value=86_400, initial=0, required=False, label="Stall for, in seconds")

    def plan(self) -> Plan:
        """Return the plan of a valid form."""
        data = self.cleaned_data
        return Plan(
            stages=data["stages"],
            workers=data["workers"],
            speed=data["speed"],
            fail_at=data["fail_at"],
            stall=data["stall"] or 0.0,
        )


# --- Examples ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Example:
    """A state, under a name. ``large``: the same under an id of its own, because an element has its id once."""

    name: str
    progress: DatasetProgress

    @property
    def large(self) -> DatasetProgress:
        return self.progress.model_copy(update={"dataset_id": f"{self.progress.dataset_id}-large"})


def examples() -> list[Example]:
    """Return every state that the components show."""
    long_message = "shard-00017/part-00004-of-00096/" + "a-name-that-is-as-long-as-file-names-of-crawls-are-" * 3
    stages = (
        _stage("download", "done", 160, 160, label="Downloading shards", weight=1),
        _stage("dedup", "active", 5_933, 9_000, label="Removing near-duplicates", weight=3),
        _stage("embedding", "waiting", 0, 9_000, counts_as="embedding", weight=2),
    )
    several = {"state": "indexing", "current": 5_933, "total": 9_000, "percent": 50.0, "stages": stages}
    failed = {"state": "error", "current": 45, "total": 100}
    unknown = {"rate": None, "eta_seconds": None}
    paused = {"paused": True, "requested_by": "ada", "health": None, **unknown}
    shown: list[tuple[str, dict[str, Any]]] = [
        ("Pending", {"state": "pending", "current": 0, "total": 0, "health": None}),
        ("Indexing, just begun", {"current": 0, **unknown}),
        ("Indexing", {"message": "Indexing samples"}),
        ("Indexing, all counted", {"current": 100, "eta_seconds": None}),
        ("Total not known", {"current": 280_578, "total": 0, "percent": None, "eta_seconds": None}),
        ("Bytes", {"current": 4_500_000, "total": 10_000_000, "stage": _stage("copy", unit="bytes", label="Copying")}),
        ("Own label, long message", {"stage": _stage("crawl", label="Crawling"), "message": long_message}),
        ("Several stages", {**several, "stage": stages[1]}),
        ("Generating embeddings", {"state": "embedding", "stage": _stage("embedding", counts_as="embedding")}),
        ("Items failed", {"failed": 12}),
        ("Several workers", {"workers": Workers(active=11, silent=1, done=4)}),
        ("Slow", {"health": "slow"}),
        ("No progress", {"health": "stalled"}),
        ("No contact", {"health": "lost", **unknown}),
        ("Pausing", {**paused, "requested": "pause"}),
        ("Paused", paused),
        ("Cancelling", {"requested": "cancel", "requested_by": "ada"}),
        ("Cancelled", {**failed, "cancelled": True, "error": "Cancelled."}),
        ("Error", {**failed, "error": "Permission denied"}),
        ("Error with details", {**failed, "error": ERROR}),
        ("Error before anything was counted", {**failed, "current": 0, "total": 0, "error": "No images were found"}),
        ("Ready", {"state": "ready", "current": 100, "percent": 100.0}),
        ("Ready, with failures", {"state": "ready", "current": 100, "percent": 100.0, "failed": 3}),
    ]  # fmt: skip
    return [Example(name, _progress(f"example-{number}", **changes)) for number, (name, changes) in enumerate(shown, 1)]


def _progress(dataset_id: str, **changes: Any) -> DatasetProgress:
    now = datetime.now(UTC)
    never_ran = dict(snapshot(Facts(0, dataset_id, now, "example", 1), now))
    working = {
        "state": "indexing", "current": 45, "total": 100, "run": 1, "percent": 45.0, "health": "live", "rate": 12.5,
        "stage": _stage("indexing"), "eta_seconds": {"low": 220.0, "high": 260.0},
        "started_at": now - timedelta(seconds=90), "silent_since": now - timedelta(minutes=5),
    }  # fmt: skip
    if changes.get("state", "indexing") not in ("indexing", "embedding"):
        working |= {"health": None, "rate": None, "eta_seconds": None, "finished_at": now}
    return DatasetProgress.model_validate(never_ran | working | changes)


def _stage(
    name: str, state: str = "active", current: int = 45, total: int = 100, *, label: str = "",
    counts_as: str = "indexing", unit: str = "samples", weight: float = 0.0,
) -> StageProgress:  # fmt: skip
    return StageProgress.model_validate(
        {
            "name": name, "label": label, "counts_as": counts_as, "current": current, "total": total, "planned": total,
            "unit": unit, "state": state, "started_at": None, "finished_at": None, "weight": weight,
        }
    )  # fmt: skip
