"""A reporter of imaginary work. It says what a real one says, through the same services, and obeys like one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from apps.datasets.models import Dataset
from apps.progress import services
from apps.progress.errors import NoRun, ProgressError, RunFinished, UnknownRun
from apps.progress.models import Run
from apps.progress.origin import Origin, this_process
from apps.progress.reports import Report, accept_reports
from apps.progress.transitions import State

from .plan import TICK, Plan, Step

# Of the items of the first stage, one in so many fails.
FAILING: Final = 250
REASON: Final = "the file is truncated"
ERROR: Final = """MemoryError: a batch of 256 samples needs 2.0 GiB, and 1.3 GiB are free
Traceback (most recent call last):
  File "embed.py", line 40, in <module>
    vectors = encode(batch)"""

# Waits for some seconds. Returns whether the simulation is to stop (`Event.wait` does).
Wait = Callable[[float], object]


class Stopped(Exception):
    """Whoever runs the simulation stops it."""


class _Over(Exception):
    """The run has ended: it was cancelled, or ended by somebody else."""


def begin(dataset: Dataset, plan: Plan, by: str = "", *, replace: bool = False) -> Run:
    """Begin the run of a simulation, as ``by`` wants. Raises `RunUnfinished`, unless it is to ``replace`` that run."""
    here = this_process()
    origin = Origin(by=by, host=here.host, process=here.process, python=here.python)
    return services.begin_run(dataset, plan.stage_plans, origin=origin, replace=replace)


def simulate(run: Run, plan: Plan, wait: Wait) -> Run:
    """Report the run to its end: ready, in error at ``plan.fail_at``, or cancelled. Returns it as it ended.

    It is unfinished only if its dataset was deleted. ``wait`` may raise: then the run ends in error, and the exception
    goes on.
    """
    reporter = _Reporter(run, plan, wait)
    try:
        reporter.report_all()
    except _Over:
        pass
    except BaseException:
        reporter.end(Report(error="The simulation was stopped.", run=run.number))
        raise
    return Run.objects.filter(pk=run.pk).first() or run


class _Reporter:
    def __init__(self, run: Run, plan: Plan, wait: Wait) -> None:
        self._run = run
        self._plan = plan
        self._wait = wait
        self._failed = 0
        self._control = run.control
        self._has_stalled = plan.stall == 0

    def report_all(self) -> None:
        fail_at = self._plan.fail_at
        for step in self._plan.steps():
            self._sleep(TICK)
            if fail_at is not None and step.percent >= fail_at:
                self._say(Report(error=ERROR, run=self._run.number))
                return
            if not self._has_stalled and step.percent >= 50:
                self._has_stalled = True
                self._stall()
            for report in self._reports_of(step):
                self._say(report)
            self._obey()
        self._say(Report(state=State.READY, run=self._run.number))

    def end(self, report: Report) -> None:
        """Say how the run ends, unless it has ended."""
        accept_reports([(self._run.dataset_id, report)])

    def _reports_of(self, step: Step) -> list[Report]:
        number, workers, total = self._run.number, self._plan.workers, self._plan.items
        is_first = step.stage == self._plan.stage_plans[0].name
        failing = range(self._failed, step.current // FAILING if is_first else 0)
        failures = [(f"{(item + 1) * FAILING:06}.jpg", REASON) for item in failing]
        self._failed = max(self._failed, failing.stop)
        if workers == 1:
            return [Report(stage=step.stage, current=step.current, total=total, failures=failures, run=number)]
        shares = [(step.current + index) // workers for index in range(workers)]
        totals = [(total + index) // workers for index in range(workers)]
        reports = [
            Report(stage=step.stage, worker=f"worker-{index + 1:02}", current=share, total=of, run=number)
            for index, (share, of) in enumerate(zip(shares, totals, strict=True))
        ]
        return [*reports, Report(failures=failures, run=number)] if failures else reports

    def _stall(self) -> None:
        left = self._plan.stall
        while left > 0:
            self._say(Report(run=self._run.number))
            self._obey()
            self._sleep(min(left, 1.0))
            left -= 1.0

    def _obey(self) -> None:
        """Hold while the run is paused."""
        while self._control == Run.Control.PAUSE:
            self._sleep(TICK)
            self._say(Report(run=self._run.number))

    def _say(self, report: Report) -> None:
        """Report. Raises `_Over` where the run is over, or has to end."""
        [answer] = accept_reports([(self._run.dataset_id, report)])
        if isinstance(answer, RunFinished | NoRun | UnknownRun):
            raise _Over  # or its dataset is deleted
        if isinstance(answer, ProgressError):
            raise answer
        self._control = answer.control
        if answer.control == Run.Control.CANCEL:
            self.end(Report(error="Cancelled.", run=self._run.number))
            raise _Over

    def _sleep(self, seconds: float) -> None:
        if self._wait(seconds):
            raise Stopped
