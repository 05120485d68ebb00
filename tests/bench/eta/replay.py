"""A trace told to the product, by the rules of reports, in memory; and what watchers are shown then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from operator import itemgetter

from apps.progress.facts import Facts
from apps.progress.history import learned_from
from apps.progress.models import Head, Run, Stage
from apps.progress.reports import Report, apply_report
from apps.progress.run_state import RunState
from apps.progress.snapshot import Eta, snapshot
from apps.progress.transitions import State

from .trace import Trace

T0 = datetime(2026, 1, 1, tzinfo=UTC)
# A reporter gives a sign of life so often, whatever its loop does.
HEARTBEAT_SECONDS = 5.0


class Replay:
    """A run in memory that is reported on as a trace says."""

    def __init__(self, trace: Trace, earlier: Sequence[Sequence[Stage]] = ()) -> None:
        """``earlier``: the stages of earlier runs, the newest first."""
        self._trace = trace
        learned = learned_from(earlier)
        self._state = RunState.begin(Head(dataset_id=1), 1, T0, learned=learned)
        for stage in trace.stages:
            self._state.add_stage(stage.name, State.INDEXING, weight=stage.weight, total=stage.total, is_planned=True)
        pauses = [(since, Run.Control.PAUSE) for since, _ in trace.paused]
        resumes = [(until, Run.Control.RUN) for _, until in trace.paused]
        self._requests = sorted(pauses + resumes, key=itemgetter(0))
        self._reports = list(trace.events)

    def left_at(self, moments: Iterable[float]) -> Iterator[Eta | None]:
        """Yield what is shown at each of these seconds, in order."""
        for moment in moments:
            self._go_to(moment)
            state = self._state
            facts = Facts(1, "trace", T0, "", state.head.version, state.run, tuple(state.stages))
            yield snapshot(facts, state.now).eta_seconds

    def stages_at_the_end(self) -> list[Stage]:
        """Return the stages of the whole run, which has ended as ready."""
        self._go_to(self._trace.end)
        self._state.finish()
        return self._state.stages

    def _go_to(self, moment: float) -> None:
        while self._reports and self._reports[0][0] <= moment:
            seconds, stage, current, total = self._reports.pop(0)
            self._request_until(seconds)
            self._now_is(seconds)
            apply_report(self._state, Report(stage=stage, current=current, total=total))
        self._request_until(moment)
        self._now_is(moment)

    def _request_until(self, moment: float) -> None:
        while self._requests and self._requests[0][0] <= moment:
            seconds, control = self._requests.pop(0)
            self._now_is(seconds)
            self._state.request(control, "")

    def _now_is(self, seconds: float) -> None:
        last, now = self._state, T0 + timedelta(seconds=seconds)
        self._state = RunState(last.head, last.run, last.stages, now)
        if last.run.heartbeat_at is not None:
            beats = (now - last.run.heartbeat_at).total_seconds() // HEARTBEAT_SECONDS
            last.run.heartbeat_at += timedelta(seconds=beats * HEARTBEAT_SECONDS)
